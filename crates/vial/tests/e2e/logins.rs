//! ssh, scp, sftp and rsync find nodes, ask nothing, and leave nothing.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::lab::Lab;

#[test]
fn nodes_are_reached_by_ones_own_openssh() {
    let lab = Lab::new(&["logins"]);
    let own = own_ssh();
    lab.vial(["up", "logins", "--workers", "1"]).ok();
    // BatchMode: whatever would ask fails.
    let sh = |script: &str| {
        let script = format!("export VIAL_CLUSTER=logins; cd \"$1\"; {script}");
        lab.shell(&script, &[&lab.dir().to_string_lossy()])
    };

    // Standard input, output, error and the exit code are those of the command.
    let ran = sh(
        "printf 'a\\nb\\n' | vial ssh w-1 -o BatchMode=yes 'uname -n; wc -l; echo e >&2; exit 42'",
    );
    assert_eq!((ran.code, ran.stdout.as_str()), (42, "w-1\n2\n"), "{ran:?}");
    assert!(ran.stderr.ends_with("e\n"), "{ran:?}");
    sh("vial ssh w-1 useradd -m -s /bin/bash -p '*' ann").ok();
    assert_eq!(sh("vial ssh ann@w-1.logins.vial id -un").ok(), "ann");
    assert_eq!(sh("vial ssh w-1 -t 'tty -s && echo terminal' 2>&1").code, 1);
    assert_eq!(
        sh("vial ssh w-1 -tt 'tty -s && echo terminal'").ok(),
        "terminal"
    );
    // A megabyte both ways, and a port of the node's own 127.0.0.1.
    let echoed = sh("head -c 1000000 /dev/zero | vial ssh cp-1 cat | wc -c").ok();
    assert_eq!(echoed.trim(), "1000000");
    assert_eq!(sh("vial ssh cp-1 -W 127.0.0.1:2381 </dev/null").ok(), "");

    // Many at once are one person's, not an attack.
    let many = "for i in $(seq 30); do vial ssh w-1 echo x & done; wait";
    assert_eq!(sh(many).ok().lines().count(), 30);

    // By the printed configuration, and by the line that includes it.
    let config = sh("vial ssh-config | tee nodes").ok();
    assert!(!config.contains("PRIVATE KEY"));
    assert_eq!(
        sh("ssh -o BatchMode=yes -F nodes w-1.logins.vial uname -n").ok(),
        "w-1"
    );
    sh("vial ssh-config --include > all && ssh -F all cp-1.logins.vial true").ok();
    sh("mkdir tree && echo content > tree/file && chmod 640 tree/file").ok();
    sh("scp -q -F nodes -r tree w-1.logins.vial:/srv/ && scp -q -F nodes w-1.logins.vial:/srv/tree/file .").ok();
    assert_eq!(sh("cat file").ok(), "content");
    sh("rsync -a -e 'ssh -F nodes' tree/ w-1.logins.vial:/srv/synced && rsync -a -e 'ssh -F nodes' w-1.logins.vial:/srv/synced .").ok();
    assert_eq!(sh("stat -c %a synced/file").ok(), "640");
    // What Ansible's modules run on.
    let python = "import json, zipfile, base64; print(json.dumps([1]))";
    assert_eq!(
        sh(&format!("vial ssh w-1 python3 - <<'E'\n{python}\nE")).ok(),
        "[1]"
    );

    // Keys are for their owner only.
    for name in ["ssh", "clusters/logins/pki/ssh"] {
        for file in files(&home(&lab).join(name)) {
            let mode = file.metadata().expect("there").mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", file.display());
        }
    }

    bad_input(&sh);

    // A node that comes later is known, one that is made anew by the same name is not mistaken.
    lab.vial(["up", "logins", "--workers", "2"]).ok();
    assert_eq!(
        sh("ssh -o BatchMode=yes -F all w-2.logins.vial uname -n").ok(),
        "w-2"
    );
    lab.vial(["down", "logins"]).ok();
    let left = files(&home(&lab).join("ssh"));
    assert!(
        left.iter()
            .all(|file| !file.iter().any(|part| part == "logins")),
        "{left:?}"
    );
    lab.vial(["up", "logins", "--workers", "1"]).ok();
    assert_eq!(
        sh("ssh -o BatchMode=yes -F all w-1.logins.vial uname -n").ok(),
        "w-1"
    );

    lab.vial(["down", "logins"]).ok();
    let gone = sh("ssh -F nodes w-1.logins.vial true");
    assert_eq!(gone.code, 255, "{gone:?}");
    assert!(
        gone.stderr.contains("there is no cluster `logins`") || gone.stderr.contains("known_hosts"),
        "{gone:?}"
    );
    assert_eq!(own_ssh(), own, "the person's own ~/.ssh is not vial's");
    lab.assert_nothing_left();
}

fn bad_input(sh: &impl Fn(&str) -> crate::lab::Ran) {
    for (script, code, words) in [
        ("vial ssh w1 true", 3, "did you mean w-1?"),
        ("vial ssh w-1.login.vial true", 3, "did you mean logins?"),
        ("vial ssh", 2, "NODE"),
        ("vial ssh w-1@ true", 3, "has no node ``"),
        ("vial ssh-config login", 3, "did you mean logins?"),
        ("vial ssh-config logins --include", 2, "cannot be used with"),
        (
            "PATH=$(dirname $(command -v vial)); vial ssh w-1 true",
            3,
            "there is no `ssh` on the PATH",
        ),
        (
            "ssh -o BatchMode=yes -F nodes w1.logins.vial true",
            255,
            "did you mean",
        ),
    ] {
        let ran = sh(script);
        assert_eq!(ran.code, code, "{script}: {ran:?}");
        assert!(ran.stderr.contains(words), "{script}: {ran:?}");
    }
}

/// Every file of the person's own ssh, with its content.
fn own_ssh() -> Vec<(PathBuf, Vec<u8>)> {
    let home = std::env::var_os("HOME").expect("a home directory");
    let files = files(&Path::new(&home).join(".ssh"));
    let read = |file: PathBuf| (file.clone(), fs::read(file).unwrap_or_default());
    files.into_iter().map(read).collect()
}

fn home(lab: &Lab) -> PathBuf {
    let clusters = lab.cluster_dir("logins");
    clusters.ancestors().nth(2).expect("a home").to_path_buf()
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let (mut found, mut below) = (Vec::new(), vec![directory.to_path_buf()]);
    while let Some(directory) = below.pop() {
        for path in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = path.path();
            match path.is_dir() {
                true => below.push(path),
                false => found.push(path),
            }
        }
    }
    found.sort();
    found
}
