//! Who gets in: keys of all kinds, their options, certificates; and who does not.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::lab::{Server, keygen, lacks, me, prepare};

#[test]
fn keys_of_all_kinds_log_in() {
    if lacks(&["ssh", "ssh-keygen"]) {
        return;
    }
    let server = Server::start(&[]);
    for (kind, bits) in [
        ("ed25519", "0"),
        ("ecdsa", "256"),
        ("ecdsa", "384"),
        ("ecdsa", "521"),
        ("rsa", "2048"),
    ] {
        let name = format!("{kind}-{bits}");
        let mut arguments = vec!["-t", kind];
        if bits != "0" {
            arguments.extend(["-b", bits]);
        }
        let key = keygen(server.directory.path(), &name, &arguments);
        fs::copy(key.with_extension("pub"), server.path("authorized_keys")).unwrap();
        let key = format!("IdentityFile={}", key.display());
        assert_eq!(
            server.ssh(&["-o", &key, "box", "echo in"]).text(),
            "in",
            "{name}"
        );
    }
    // SHA-1 is refused even to who has the key.
    let key = format!("IdentityFile={}", server.path("rsa-2048").display());
    let sha1 = "PubkeyAcceptedAlgorithms=ssh-rsa";
    server
        .ssh(&["-o", &key, "-o", sha1, "box", "echo in"])
        .failure();
}

#[test]
fn host_keys_of_all_kinds_are_shown() {
    if lacks(&["ssh", "ssh-keyscan", "ssh-keygen"]) {
        return;
    }
    let directory = prepare();
    for (kind, name) in [("ecdsa", "ssh_host_ecdsa_key"), ("rsa", "ssh_host_rsa_key")] {
        keygen(directory.path(), name, &["-t", kind]);
    }
    let server = Server::start_in(directory, &[]);
    for (algorithm, file) in [
        ("ssh-ed25519", "ssh_host_ed25519_key.pub"),
        ("ecdsa-sha2-nistp256", "ssh_host_ecdsa_key.pub"),
        ("rsa-sha2-512", "ssh_host_rsa_key.pub"),
        ("rsa-sha2-256", "ssh_host_rsa_key.pub"),
    ] {
        let key = fs::read_to_string(server.path(file)).unwrap();
        fs::write(server.path("known_hosts"), format!("box {key}")).unwrap();
        let wanted = format!("HostKeyAlgorithms={algorithm}");
        assert_eq!(
            server.ssh(&["-o", &wanted, "box", "echo in"]).text(),
            "in",
            "{algorithm}"
        );
    }
}

#[test]
fn others_do_not_get_in_and_the_log_says_why() {
    if lacks(&["ssh", "ssh-keygen"]) {
        return;
    }
    let server = Server::start(&[]);
    let known = fs::read(server.path("authorized_keys")).unwrap();
    let become_of = |name: &str| {
        let stranger = keygen(server.directory.path(), name, &["-t", "ed25519"]);
        fs::copy(&stranger, server.path("id")).unwrap();
        fs::copy(stranger.with_extension("pub"), server.path("id.pub")).unwrap();
    };
    server.ssh(&["-l", "nobody-here", "box", "true"]).failure();
    let line = server.line("no login as \"nobody-here\"");
    assert!(line.contains("nobody of this name"), "{line}");
    become_of("stranger");
    let said = server.ssh(&["box", "true"]);
    // No other way is offered: no passwords, no questions.
    assert!(
        said.failure().contains("Permission denied (publickey)"),
        "{}",
        said.stderr
    );
    let line = server.line("no login as");
    assert!(line.contains("unknown key"), "{line}");
    // Keys may change while the server runs.
    fs::copy(server.path("stranger.pub"), server.path("authorized_keys")).unwrap();
    assert_eq!(server.ssh(&["box", "echo in"]).text(), "in");
    fs::write(server.path("authorized_keys"), known).unwrap();
    server.ssh(&["box", "true"]).failure();
}

#[test]
fn options_of_a_key_are_obeyed() {
    if lacks(&["ssh", "ssh-keygen"]) {
        return;
    }
    let server = Server::start(&[]);
    let key = fs::read_to_string(server.path("id.pub")).unwrap();
    let with = |options: &str| {
        fs::write(server.path("authorized_keys"), format!("{options} {key}")).unwrap();
    };
    with("restrict,command=\"echo forced $SSH_ORIGINAL_COMMAND\",environment=\"A=b\"");
    assert_eq!(
        server.ssh(&["box", "rm -rf /tmp/x"]).text(),
        "forced rm -rf /tmp/x"
    );
    let said = server.ssh(&["-tt", "box", "true"]);
    assert!(
        said.stderr.contains("PTY allocation request failed"),
        "{}",
        said.stderr
    );
    with("from=\"10.0.0.0/8\"");
    server.ssh(&["box", "true"]).failure();
    assert!(server.line("no login as").contains("another address"));
    with("from=\"127.0.0.0/8\",environment=\"A=b\"");
    assert_eq!(server.ssh(&["box", "echo $A"]).text(), "b");
    with("no-such-option");
    server.ssh(&["box", "true"]).failure();
}

/// Signs `id` as a certificate, which ssh finds beside the key.
fn sign(directory: &Path, authority: &str, arguments: &[&str]) {
    let signed = Command::new("ssh-keygen")
        .arg("-q")
        .arg("-s")
        .arg(directory.join(authority))
        .args(["-I", "a person"])
        .args(arguments)
        .arg(directory.join("id.pub"))
        .output()
        .unwrap();
    assert!(signed.status.success(), "{signed:?}");
}

#[test]
fn certificates_of_a_trusted_authority_log_in() {
    if lacks(&["ssh", "ssh-keygen"]) {
        return;
    }
    let directory = prepare();
    for (name, kind) in [
        ("ca", "ed25519"),
        ("other-ca", "ed25519"),
        ("rsa-ca", "rsa"),
    ] {
        keygen(directory.path(), name, &["-t", kind]);
    }
    let both = ["ca.pub", "rsa-ca.pub"]
        .map(|name| fs::read_to_string(directory.path().join(name)).unwrap());
    fs::write(directory.path().join("user_ca.pub"), both.concat()).unwrap();
    fs::write(directory.path().join("authorized_keys"), "").unwrap();
    let ca = directory.path().join("user_ca.pub").display().to_string();
    let server = Server::start_in(directory, &["--user-ca", &ca]);
    let (path, me) = (server.directory.path(), me());
    server.ssh(&["box", "true"]).failure();
    for authority in ["ca", "rsa-ca"] {
        sign(path, authority, &["-n", &me]);
        assert_eq!(server.ssh(&["box", "echo in"]).text(), "in", "{authority}");
        assert!(server.line("login of").contains("ID \"a person\""));
    }
    for (why, authority, arguments) in [
        ("its authority is not trusted", "other-ca", &["-n", &me][..]),
        ("somebody else", "ca", &["-n", "somebody"]),
        ("somebody else", "ca", &[]),
        (
            "another address",
            "ca",
            &["-n", &me, "-O", "source-address=10.0.0.0/8"],
        ),
    ] {
        sign(path, authority, arguments);
        server.ssh(&["box", "true"]).failure();
        let line = server.line("no login as");
        assert!(line.contains(why), "{line}");
    }
    // Over, and not yet: refused before anything else is looked at.
    for validity in ["20200101:20200102", "20900101:20900102"] {
        sign(path, "ca", &["-n", &me, "-V", validity]);
        server.ssh(&["box", "true"]).failure();
    }
    sign(
        path,
        "ca",
        &["-n", &me, "-O", "force-command=echo forced", "-O", "no-pty"],
    );
    assert_eq!(server.ssh(&["box", "id"]).text(), "forced");
    let said = server.ssh(&["-tt", "box", "true"]);
    assert!(
        said.stderr.contains("PTY allocation request failed"),
        "{}",
        said.stderr
    );
}

#[test]
fn an_authority_may_stand_among_the_keys() {
    if lacks(&["ssh", "ssh-keygen"]) {
        return;
    }
    let server = Server::start(&[]);
    let path = server.directory.path();
    keygen(path, "ca", &["-t", "ecdsa"]);
    let key = fs::read_to_string(path.join("ca.pub")).unwrap();
    let line = format!("cert-authority,principals=\"team\" {key}");
    fs::write(server.path("authorized_keys"), line).unwrap();
    server.ssh(&["box", "true"]).failure();
    sign(path, "ca", &["-n", "team"]);
    assert_eq!(server.ssh(&["box", "echo in"]).text(), "in");
    sign(path, "ca", &["-n", &me()]);
    server.ssh(&["box", "true"]).failure();
}
