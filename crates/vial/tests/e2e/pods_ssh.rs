//! ssh finds pods by their names, directly and through the API, and asks nothing.

use std::fs;
use std::io::Read as _;
use std::net::TcpStream;
use std::process::Stdio;

use rustix::process::Signal;

use crate::lab::{Lab, Ran, eventually, signal};
use crate::ports::free_port;

/// Runs a script with a home of its own, so that nobody's `~/.ssh` changes.
fn at_home(lab: &Lab, script: &str) -> Ran {
    let script = format!(
        "cd \"$1\"; mkdir -p home; export HOME=\"$1/home\" VIAL_CLUSTER=podssh; \
         ssh() {{ command ssh -o BatchMode=yes -F \"$HOME/.ssh/config\" \"$@\"; }}; {script}"
    );
    lab.shell(&script, &[&lab.dir().to_string_lossy()])
}

#[test]
fn pods_are_found_by_name_as_they_come_and_go() {
    let lab = Lab::up("podssh", &["--workers", "1"]);
    let sh = |script: &str| at_home(&lab, script);
    let names = || fs::read_to_string(lab.dir().join("home/.ssh/vial/names")).unwrap_or_default();

    // One line, once, and it goes again.
    sh("mkdir -m 700 home/.ssh; printf 'Host x\\n' > home/.ssh/config").ok();
    sh("vial ssh-config --install; vial ssh-config --install").ok();
    let config = sh("cat home/.ssh/config").ok();
    let line = format!("Include {}/home/.ssh/vial/config", lab.dir().display());
    assert_eq!(config, format!("{line}\nHost x"));
    sh("cp home/.ssh/config kept; vial ssh-config --uninstall").ok();
    assert_eq!(sh("cat home/.ssh/config").ok(), "Host x");
    sh("vial ssh-config --install; cmp home/.ssh/config kept").ok();

    sh("vial pod create one two").ok();
    assert_eq!(
        sh("ssh one uname -n; ssh two.podssh.vial id -un").ok(),
        "one\nroot"
    );
    let ran = sh("vial pod ssh one 'wc -c; exit 7' < kept");
    assert_eq!(
        (ran.code, ran.stdout.trim().parse::<usize>()),
        (7, Ok(config.len() + 1))
    );

    // The keeper follows what others do.
    lab.kubectl("podssh", &["delete", "service", "two", "-n", "vial-pods"])
        .ok();
    eventually("the name of a deleted pod to go", || {
        match names().contains("Host two") {
            true => Err(names()),
            false => Ok(()),
        }
    });
    assert_eq!(sh("ssh one uname -n").ok(), "one");

    // The same cluster, known by nothing but a kubeconfig: through the API, and a name that two places have.
    sh("vial kubeconfig podssh > other; sed -i s/vial-podssh/other/g other; unset VIAL_CLUSTER; vial pod ls --kubeconfig other").ok();
    let clash = sh("ssh one true");
    let said = "error: several pods are called one: say one.other.vial or one.podssh.vial\n";
    assert_eq!((clash.code, clash.stderr.as_str()), (255, said));
    let far = sh("head -c 5000000 /dev/zero | ssh one.other.vial 'cat; exit 3' | wc -c");
    assert_eq!(far.ok().trim(), "5000000");
    assert_eq!(
        sh("vial pod netcat one < /dev/null | head -c 8").ok(),
        "SSH-2.0-"
    );
    let nobody = sh("vial pod netcat one 81 < /dev/null");
    assert_eq!(nobody.code, 1);
    assert!(
        nobody.stderr.contains("nobody listens at port 81"),
        "{nobody:?}"
    );
    assert_eq!(sh("vial pod netcat on").code, 3);

    // A pod whose time is over goes, and it is told.
    let expire = [
        "annotate",
        "service",
        "one",
        "-n",
        "vial-pods",
        "--overwrite",
        "vial.dev/expires=2026-01-01T00:00:00Z",
    ];
    lab.kubectl("podssh", &expire).ok();
    let told = eventually("the end of a pod to be told", || {
        let events = lab.vial(["events", "podssh"]).ok();
        match events.contains("pod-expired") {
            true => Ok(events),
            false => Err(events),
        }
    });
    assert!(told.contains("the pod vial-pods/one was removed"), "{told}");

    lab.vial(["down", "podssh"]).ok();
    assert!(!names().contains(".podssh.vial"), "{}", names());
    lab.assert_nothing_left();
}

#[test]
fn pods_are_listed_for_other_programs_and_reach_each_other() {
    let lab = Lab::up("podssh", &["--workers", "1"]);
    let sh = |script: &str| at_home(&lab, script);
    sh("vial pod create one two").ok();

    let table = sh("vial pod table").ok();
    assert_eq!(table.lines().count(), 4, "two families: {table}");
    assert!(table.contains(" one one.podssh.vial"), "{table}");
    let asked = sh("vial pod table --script > pods; chmod +x pods; ./pods --list").json();
    assert_eq!(asked["vial"]["hosts"], serde_json::json!(["one", "two"]));
    let variables = &asked["_meta"]["hostvars"]["one"];
    assert_eq!(*variables, sh("./pods --host one").json());
    // As Ansible would.
    let ssh = "command ssh -o BatchMode=yes -F home/.ssh/vial/whole_config one.vial-pods.podssh.vial uname -n";
    assert_eq!(sh(ssh).ok(), "one");

    let mesh = sh("vial pod ping --count 2 -o json").json();
    let mesh = mesh.as_array().expect("a list");
    assert_eq!(
        mesh.len(),
        6,
        "both ways, two families and a name: {mesh:?}"
    );
    let lost = mesh.iter().filter(|answer| answer["received"] != 2);
    assert_eq!(lost.count(), 0, "{mesh:?}");
    assert_eq!(sh("vial pod ping one").code, 3, "nobody to ask");

    // A port of this machine, for two connections.
    let args = ["pod", "port-forward", "-c", "podssh", "one", ":22"];
    let mut command = lab.command(args);
    command
        .env("HOME", lab.dir().join("home"))
        .stdout(Stdio::piped());
    let mut forwarding = command.spawn().expect("vial runs");
    let mut said = Vec::new();
    let mut stdout = forwarding.stdout.take().expect("piped");
    while !said.ends_with(b"\n") {
        let mut byte = [0];
        stdout.read_exact(&mut byte).expect("a line");
        said.extend(byte);
    }
    let said = String::from_utf8(said).expect("text");
    let port = said
        .strip_prefix("Forwarding from 127.0.0.1:")
        .and_then(|rest| rest.strip_suffix(" -> 22\n"))
        .and_then(|port| port.parse::<u16>().ok())
        .expect("where it listens");
    for _ in 0..2 {
        let mut greeting = [0; 8];
        let mut connection = TcpStream::connect(("127.0.0.1", port)).expect("connected");
        connection.read_exact(&mut greeting).expect("a greeting");
        assert_eq!(&greeting, b"SSH-2.0-");
    }
    signal(forwarding.id(), Signal::INT);
    assert!(forwarding.wait().expect("ended").success());

    lab.vial(["down", "podssh"]).ok();
    lab.assert_nothing_left();
}

/// As VS Code's Remote-SSH does it: a script on standard input starts a server that says its port and outlives the session;
/// the window comes by `-D`, and a later one by `-L`. As TRAMP of Emacs does it: a shell in a terminal, made dumb, that is
/// told what to do by its input.
#[test]
fn editors_work_in_a_pod_by_their_remote_modes() {
    let lab = Lab::up("podssh", &["--workers", "0"]);
    let sh = |script: &str| at_home(&lab, script);
    sh("vial pod create one --user ann").ok();
    sh("vial ssh-config --install; touch home/.ssh/config").ok();

    let server = "mkdir -p ~/.server; cd ~/.server; echo the page > page; \
        nohup busybox httpd -f -p 127.0.0.1:8123 -h . > log 2>&1 < /dev/null & \
        until (: < /dev/tcp/127.0.0.1/8123) 2> /dev/null; do :; done; echo listeningOn=8123; cat";
    let socks = free_port();
    let script = format!(
        "mkfifo window said; \
         {{ printf '%s\n' '{server}'; cat window; }} | ssh -T -D 127.0.0.1:{socks} one bash > said & \
         exec 3> window 4< said; read line <&4; echo $line; \
         printf '\\005\\001\\000\\005\\001\\000\\001\\177\\000\\000\\001\\037\\273GET /page HTTP/1.0\\r\\n\\r\\n' \
           | bash -c 'exec 5<>/dev/tcp/127.0.0.1/{socks}; cat >&5; tail -n 1 <&5'; \
         exec 3>&-; wait"
    );
    assert_eq!(sh(&script).ok(), "listeningOn=8123\nthe page");
    let later = free_port();
    let script = format!(
        "ssh -f -L 127.0.0.1:{later}:127.0.0.1:8123 one 'sleep 3'; \
         bash -c 'exec 4<>/dev/tcp/127.0.0.1/{later}; printf \"GET /page HTTP/1.0\\r\\n\\r\\n\" >&4; tail -n 1 <&4'"
    );
    assert_eq!(sh(&script).ok(), "the page");

    let tramp = "exec env TERM=dumb PS1=///prompt sh -i\n\
        stty -echo -onlcr\n(base64 -d > ~/notes) <<'EOT'\naGVsbG8K\nEOT\n\
        echo =; id -un; cat ~/notes; sudo id -un; echo =; exit 7\n";
    let ran = sh(&format!("printf \"{tramp}\" | ssh -tt -e none one"));
    assert_eq!(ran.code, 7, "{ran:?}");
    let said = ran.stdout.replace("///prompt", "").replace('\r', "");
    assert!(said.contains("=\nann\nhello\nroot\n=\n"), "{ran:?}");

    lab.vial(["down", "podssh"]).ok();
    lab.assert_nothing_left();
}
