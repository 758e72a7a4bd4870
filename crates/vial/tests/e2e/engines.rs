//! Images of the container engines of this machine. docker and podman are programs that do what the real ones do on their
//! standard output, with an archive that is one; containerd is the real one of the node image.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::crane::toolbox;
use crate::lab::{Lab, Ran, eventually, signal};

/// Directories of programs that are put before those of the host, which may have engines of its own.
struct Engines {
    bin: PathBuf,
}

impl Engines {
    fn new(lab: &Lab) -> Self {
        let bin = lab.dir().join("engines");
        fs::create_dir_all(&bin).expect("made");
        Self { bin }
    }

    /// A program that is this script.
    fn install(&self, name: &str, script: &str) {
        let path = self.bin.join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("set");
    }

    fn vial(&self, lab: &Lab, args: &[&str]) -> Ran {
        let path = format!("{}:/usr/bin:/bin", self.bin.display());
        let mut command = lab.command(args);
        command.env("PATH", path).env_remove("DOCKER_HOST");
        Ran::of(command.output().expect("vial runs"))
    }
}

fn names(lab: &Lab, cluster: &str) -> Vec<String> {
    let list = lab.vial(["image", "ls", "-c", cluster, "-o", "name"]).ok();
    list.lines().map(str::to_owned).collect()
}

#[test]
fn an_image_of_docker_or_podman_is_taken_by_its_name() {
    let lab = Lab::up("engines", &["--workers", "0"]);
    let archive = toolbox(&lab, "engines");
    let engines = Engines::new(&lab);
    let saves = |word: &str, image: &str| {
        format!(
            "for last; do :; done\n[ \"$1 $last\" = '{word} {image}' ] && exec cat {archive}\n\
             echo 'warning: something' >&2; echo \"no such image: $last\" >&2; exit 1"
        )
    };
    engines.install("docker", &saves("save", "app:v1"));
    engines.install("podman", &saves("save", "other:latest"));
    let before = names(&lab, "engines");

    // Who was asked, and what each said.
    let ran = engines.vial(&lab, &["image", "load", "none:v1", "-c", "engines"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    for said in [
        "error: there is no file `none:v1`, and no container engine gives an image of that name",
        "docker: no such image: none:v1",
        "podman: no such image: none:v1",
        "containerd: neither ctr nor nerdctl is installed",
        "hint: a pull by one of them brings it to this machine",
    ] {
        assert!(ran.stderr.contains(said), "{said}: {ran:?}");
    }
    let only_podman = ["image", "load", "podman://app:v1", "-c", "engines"];
    let ran = engines.vial(&lab, &only_podman);
    assert_eq!(ran.code, 3, "{ran:?}");
    for said in ["podman gives no image `app:v1`", "`podman pull app:v1`"] {
        assert!(ran.stderr.contains(said), "{said}: {ran:?}");
    }
    assert_eq!(names(&lab, "engines"), before);

    // Several at once, each from where it is; what an engine calls it otherwise is called as it was asked for.
    let several = [
        "image", "load", "app:v1", "other", &archive, "-c", "engines",
    ];
    engines.vial(&lab, &several).ok();
    let after = names(&lab, "engines");
    for name in ["docker.io/library/app:v1", "docker.io/library/other:latest"] {
        assert!(after.iter().any(|one| one == name), "{name}: {after:?}");
    }

    // A file of that name is a file, unless an engine is named.
    let ran = engines.vial(&lab, &["image", "load", "--from", "docker", "./app:v1"]);
    assert_eq!(ran.code, 2, "{ran:?}");

    // One that breaks off, beside a good one: nothing of either.
    engines.install(
        "docker",
        &format!("head -c 1000000 {archive}\necho 'daemon went away' >&2; exit 1"),
    );
    let ran = engines.vial(
        &lab,
        &["image", "load", &archive, "cut:v1", "-c", "engines"],
    );
    assert_eq!(ran.code, 1, "{ran:?}");
    let said = "docker does not give image `cut:v1`: daemon went away";
    assert!(ran.stderr.contains(said), "{ran:?}");
    assert_eq!(names(&lab, "engines"), after);

    // One that says nothing is waited for no longer than the person likes, and ended then.
    let begun = lab.dir().join("begun");
    let wait = format!(
        "echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000",
        begun.display()
    );
    engines.install("docker", &wait);
    let path = format!("{}:/usr/bin:/bin", engines.bin.display());
    let mut command = lab.command(["image", "load", "docker://slow:v1", "-c", "engines"]);
    let mut load = command
        .env("PATH", path)
        .stderr(Stdio::null())
        .spawn()
        .expect("vial runs");
    let pid = eventually("docker is asked", || {
        fs::read_to_string(&begun).map_err(|error| error.to_string())
    });
    signal(load.id(), rustix::process::Signal::INT);
    assert_eq!(load.wait().expect("it ends").code(), Some(130));
    assert!(!PathBuf::from(format!("/proc/{}", pid.trim())).exists());
    assert_eq!(names(&lab, "engines"), after);

    lab.vial(["down", "engines"]).ok();
    lab.assert_nothing_left();
}

#[test]
fn a_dockerfile_is_built_by_who_is_there() {
    let lab = Lab::up("builder", &["--workers", "0"]);
    let archive = toolbox(&lab, "builder");
    let engines = Engines::new(&lab);
    let source = lab.dir().join("My-App");
    fs::create_dir(&source).expect("made");
    let directory = source.display().to_string();
    let build = |flags: &[&str]| {
        let command = ["image", "build", &directory, "-c", "builder"];
        engines.vial(&lab, &[&command[..], flags].concat())
    };
    let ran = build(&[]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stderr.contains("no Dockerfile"), "{ran:?}");
    fs::write(source.join("Dockerfile"), "FROM scratch\n").expect("written");
    let ran = build(&[]);
    assert_eq!(ran.code, 3, "{ran:?}");
    for said in ["buildah: not installed", "hint: install buildah"] {
        assert!(ran.stderr.contains(said), "{said}: {ran:?}");
    }

    // docker is there, and its daemon is not.
    engines.install("docker", "echo 'Cannot connect to the daemon' >&2; exit 1");
    let ran = build(&["--with", "docker"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stderr.contains("docker: Cannot connect"), "{ran:?}");

    let before = names(&lab, "builder");
    let log = lab.dir().join("built").display().to_string();
    engines.install(
        "buildah",
        &format!(
            "case $1 in\nbuild) echo STEP 1/1; echo \"$@\" > {log}; grep -q scratch \"$5\" ;;\n\
             push) [ \"$3\" = my-app:latest ] && exec cat {archive} ;;\nesac"
        ),
    );
    build(&["--build-arg", "A=1"]).ok();
    let asked = fs::read_to_string(&log).expect("it was run");
    let expected =
        format!("build --tag my-app --file {directory}/Dockerfile --build-arg A=1 {directory}\n");
    assert_eq!(asked, expected);
    let after = names(&lab, "builder");
    assert_eq!(after.len(), before.len() + 1, "{after:?}");
    assert!(after.contains(&"docker.io/library/my-app:latest".to_owned()));

    // One that fails speaks for itself, and nothing is changed.
    fs::write(source.join("Dockerfile"), "FROM nowhere\n").expect("written");
    let ran = build(&["-t", "other:v1"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("STEP 1/1"), "{ran:?}");
    assert!(ran.stderr.contains("buildah failed"), "{ran:?}");
    assert_eq!(names(&lab, "builder"), after);

    lab.vial(["down", "builder"]).ok();
    lab.assert_nothing_left();
}

#[test]
fn an_engine_without_its_program_is_asked_at_its_socket() {
    let lab = Lab::up("socket", &["--workers", "0"]);
    let archive = toolbox(&lab, "socket");
    let socket = lab.dir().join("docker.sock");
    let served = fs::read(&archive).expect("read");
    let listener = std::os::unix::net::UnixListener::bind(&socket).expect("bound");
    let server = std::thread::spawn(move || {
        for known in [false, true] {
            let (stream, _) = listener.accept().expect("a client");
            answer(&stream, known, &served);
        }
    });
    let load = |image: &str| {
        let mut command = lab.command(["image", "load", image, "-c", "socket"]);
        command
            .env("PATH", "/nonexistent")
            .env("DOCKER_HOST", format!("unix://{}", socket.display()));
        Ran::of(command.output().expect("vial runs"))
    };
    let ran = load("docker://none:v1");
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stderr.contains("docker: No such image: x"), "{ran:?}");
    load("app:v1").ok();
    assert!(names(&lab, "socket").contains(&"docker.io/library/app:v1".to_owned()));
    server.join().expect("it served both");
    lab.vial(["down", "socket"]).ok();
    lab.assert_nothing_left();
}

/// What dockerd answers to `GET /images/NAME/get`.
fn answer(mut stream: &std::os::unix::net::UnixStream, known: bool, archive: &[u8]) {
    use std::io::{BufRead as _, Write as _};
    let request = std::io::BufReader::new(stream)
        .lines()
        .map_while(Result::ok);
    let request: Vec<String> = request.take_while(|line| !line.is_empty()).collect();
    let body = br#"{"message":"No such image: x"}"#;
    let (status, body) = match known {
        true => ("200 OK", archive),
        false => ("404 Not Found", &body[..]),
    };
    if known {
        assert!(
            request[0].starts_with("GET /images/app:v1/get"),
            "{request:?}"
        );
    }
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )
    .and_then(|()| stream.write_all(body))
    .expect("written");
}

/// The node image's containerd on this host, for one test.
struct Containerd {
    child: Child,
    socket: String,
    bin: PathBuf,
}

impl Containerd {
    fn start(lab: &Lab) -> Self {
        let bin = lab.in_node_image("usr/local/bin/containerd");
        let bin = bin.parent().expect("a directory").to_path_buf();
        let dir = lab.dir().join("containerd");
        fs::create_dir_all(&dir).expect("made");
        let socket = dir.join("containerd.sock").display().to_string();
        let config = dir.join("config.toml");
        let text = format!(
            "version = 3\nroot = '{0}/root'\nstate = '{0}/state'\n\
             disabled_plugins = ['io.containerd.cri.v1.images', 'io.containerd.cri.v1.runtime', 'io.containerd.grpc.v1.cri']\n\
             [grpc]\naddress = '{0}/containerd.sock'\n[ttrpc]\naddress = '{0}/ttrpc.sock'\n",
            dir.display()
        );
        fs::write(&config, text).expect("written");
        let child = Command::new(bin.join("containerd"))
            .arg("--config")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.join("log")).expect("a log"))
            .spawn()
            .expect("containerd runs");
        let containerd = Self { child, socket, bin };
        eventually("containerd answers", || {
            let ran = containerd.ctr(&["version"]);
            if ran.code == 0 {
                Ok(())
            } else {
                Err(ran.stderr)
            }
        });
        containerd
    }

    fn ctr(&self, args: &[&str]) -> Ran {
        let mut ctr = Command::new(self.bin.join("ctr"));
        ctr.args(["--address", &self.socket]).args(args);
        Ran::of(ctr.output().expect("ctr runs"))
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_image_of_containerd_is_found_in_whichever_namespace_it_is() {
    let lab = Lab::up("ctr", &["--workers", "0"]);
    let archive = toolbox(&lab, "ctr");
    let containerd = Containerd::start(&lab);
    let import = [
        "-n",
        "team",
        "images",
        "import",
        "--local",
        "--no-unpack",
        "--digests=false",
        &archive,
    ];
    containerd.ctr(&import).ok();
    let names_there = ["docker.io/vial/toolbox:latest", "docker.io/library/app:v1"];
    containerd
        .ctr(&[&["-n", "team", "images", "tag"][..], &names_there].concat())
        .ok();
    // Kubernetes' own is looked into first, and has others.
    containerd.ctr(&["namespaces", "create", "k8s.io"]).ok();
    let load = |args: &[&str]| {
        let path = format!("{}:/usr/bin:/bin", containerd.bin.display());
        let mut command = lab.command([&["image", "load", "-c", "ctr"], args].concat());
        command
            .env("PATH", path)
            .env("CONTAINERD_ADDRESS", &containerd.socket)
            .env_remove("DOCKER_HOST");
        Ran::of(command.output().expect("vial runs"))
    };
    let ran = load(&["none:v1"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    let said = "containerd: no image docker.io/library/none:v1 in namespaces k8s.io, team";
    assert!(ran.stderr.contains(said), "{ran:?}");
    load(&["app:v1"]).ok();
    load(&["--from", "containerd", "app:v1", "-t", "renamed:v1"]).ok();
    let list = names(&lab, "ctr");
    for name in ["docker.io/library/app:v1", "docker.io/library/renamed:v1"] {
        assert!(list.iter().any(|one| one == name), "{name}: {list:?}");
    }
    lab.apply(
        "ctr",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: app}\nspec: {tolerations: [{operator: Exists}], containers: [{name: c, image: 'app:v1', command: [sleep, infinity]}]}\n",
    );
    lab.await_pod("ctr", "app");
    drop(containerd);
    lab.vial(["down", "ctr"]).ok();
    lab.assert_nothing_left();
}
