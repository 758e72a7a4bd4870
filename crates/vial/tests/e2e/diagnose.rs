//! One archive for a bug report: all that is needed is in it, no secret is, and it comes from whatever is stuck or gone.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use crate::lab::{Lab, eventually, kill, signal};

/// What no file of an archive may hold, however it got near.
const SECRETS: [&str; 6] = [
    "MARK-of-a-secret",
    "MARK-of-a-variable",
    "MARK-of-a-file",
    "MARK-of-a-manifest",
    "MARK-of-a-component",
    "MARK-of-a-flag",
];

/// An archive, unpacked: files by their paths below its directory, and all of it as bytes.
struct Unpacked {
    files: BTreeMap<String, String>,
    raw: Vec<u8>,
}

impl Unpacked {
    fn of(archive: &[u8]) -> Self {
        let mut raw = Vec::new();
        let mut gzip = flate2::read::GzDecoder::new(archive);
        gzip.read_to_end(&mut raw).expect("gzip");
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(raw.as_slice()).entries().expect("tar") {
            let mut entry = entry.expect("an entry");
            let path = entry.path().expect("a path").to_string_lossy().into_owned();
            let (_, path) = path.split_once('/').expect("in a directory");
            let path = path.to_owned();
            let mut text = String::new();
            entry.read_to_string(&mut text).expect("text");
            files.insert(path, text);
        }
        Self { files, raw }
    }

    #[track_caller]
    fn file(&self, path: &str) -> &str {
        let known = self.files.keys();
        let file = self.files.get(path);
        file.unwrap_or_else(|| panic!("{path} is not in {known:?}\n{}", self.files["README.txt"]))
    }

    #[track_caller]
    fn assert_has(&self, path: &str, words: &[&str]) {
        let text = self.file(path);
        for word in words {
            assert!(text.contains(word), "{word} is not in {path}:\n{text}");
        }
    }

    #[track_caller]
    fn assert_lacks(&self, secret: &str) {
        let found = self
            .raw
            .windows(secret.len())
            .any(|bytes| bytes == secret.as_bytes());
        let files = self.files.iter().filter(|(_, text)| text.contains(secret));
        let files: Vec<_> = files.map(|(path, _)| path).collect();
        assert!(!found, "{secret} is in the archive: {files:?}");
    }

    /// No secret of the cluster whose directory this is.
    #[track_caller]
    fn assert_clean(&self, cluster: &Path) {
        for secret in SECRETS.iter().chain(&["PRIVATE KEY", "eyJ"]) {
            self.assert_lacks(secret);
        }
        for key in ["ca.key", "etcd-ca.key", "sa.key", "leaves/admin.key"] {
            let key = fs::read_to_string(cluster.join("pki").join(key)).expect("a key");
            for line in key.lines().filter(|line| !line.starts_with('-')) {
                self.assert_lacks(line);
            }
        }
    }
}

const FILE: &str = r"
apiVersion: vial/v1
kind: Cluster
workers: 1
nodes:
  w-1:
    files:
      - path: /etc/overlaid
        content: |
          password: MARK-of-a-file
components:
  kube-scheduler:
    env: {FISH: MARK-of-a-component}
manifests:
  - name: secret
    content: |
      apiVersion: v1
      kind: Secret
      metadata: {name: from-the-file}
      stringData: {word: MARK-of-a-manifest}
";

/// A pod that says all that it should not, and fails.
const LOUD: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: sesame}
stringData: {word: MARK-of-a-secret}
---
apiVersion: v1
kind: Pod
metadata: {name: loud}
spec:
  nodeName: w-1
  restartPolicy: Never
  containers:
    - name: mouth
      image: vial/toolbox
      command: [sh, -c, 'echo I am loud; echo $API_TOKEN; cat /s/word /run/secrets/kubernetes.io/serviceaccount/token; exit 1', sh, --password, MARK-of-a-flag]
      env: [{name: API_TOKEN, value: MARK-of-a-variable}]
      volumeMounts: [{name: s, mountPath: /s}]
  volumes: [{name: s, secret: {secretName: sesame}}]
"#;

fn await_failure(lab: &Lab, cluster: &str) {
    eventually("the pod fails", || {
        let phase = ["get", "pod", "loud", "-o", "jsonpath={.status.phase}"];
        match lab.kubectl(cluster, &phase).stdout.as_str() {
            "Failed" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
}

#[test]
fn an_archive_has_all_that_a_bug_report_needs_and_no_secret() {
    let lab = Lab::new(&["told"]);
    let file = lab.file("vial.yaml", FILE);
    lab.vial(["up", "told", "-f", &file]).ok();
    lab.apply("told", LOUD);
    await_failure(&lab, "told");
    // A component that is given a key to say.
    let key = lab.cluster_dir("told").join("pki/ca.key");
    let key = fs::read_to_string(key).expect("a key");
    let log = lab.cluster_dir("told").join("nodes/w-1/log/vial/sshd.log");
    fs::write(&log, format!("before\n{key}after\n")).expect("written");

    let path = lab.dir().join("told.tar.gz");
    let said = lab
        .vial(["diagnose", "told", "-o", &path.to_string_lossy()])
        .ok();
    assert_eq!(said, path.to_string_lossy());
    let mode = fs::metadata(&path)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let archive = Unpacked::of(&fs::read(&path).expect("read"));
    archive.assert_clean(&lab.cluster_dir("told"));

    archive.assert_has("README.txt", &["All was gathered.", "logs/w-1/kubelet.log"]);
    archive.assert_has("logs/w-1/kubelet.log", &["Kubelet version"]);
    archive.assert_has("logs/w-1/sshd.log", &["before\n", "after\n"]);
    archive.assert_has("logs/cp-1/kube-apiserver.log", &["v1."]);
    archive.assert_has("logs/registry/registry.log", &["listening"]);
    archive.assert_has("logs/init.log", &["serving"]);
    archive.assert_has(
        "logs/w-1/pods/default/loud/mouth-0.log",
        &["I am loud", "[removed]"],
    );
    archive.assert_has(
        "kubernetes/pods.yaml",
        &["loud", "API_TOKEN", "coredns", "[removed]"],
    );
    archive.assert_has(
        "kubernetes/secrets.txt",
        &["default/sesame", "default/from-the-file"],
    );
    archive.assert_has("kubernetes/nodes.yaml", &["name: w-1"]);
    archive.assert_has("kubernetes/events.yaml", &["loud"]);
    archive.assert_has("nodes/w-1/processes.txt", &["kubelet", "containerd"]);
    archive.assert_has("nodes/w-1/nftables.txt", &["table ip"]);
    archive.assert_has("nodes/w-1/network.txt", &["10.89.0.101"]);
    archive.assert_has("nodes/w-1/containers.txt", &["pause", "toolbox"]);
    archive.assert_has("nodes/cp-1/control-plane/processes.txt", &["etcd"]);
    archive.assert_has("cluster/processes.txt", &["kube-apiserver"]);
    archive.assert_has("cluster/events.ndjson", &["up-finished"]);
    archive.assert_has(
        "cluster/record.json",
        &["/etc/overlaid", "[removed]", "\"FISH\""],
    );
    archive.assert_has(
        "host/machine.txt",
        &["Linux version", "fs.inotify.max_user_instances"],
    );
    let status: Value = serde_json::from_str(archive.file("cluster/status.json")).expect("JSON");
    assert_eq!(status["phase"], "running");
    let checks: Value = serde_json::from_str(archive.file("cluster/check.json")).expect("JSON");
    assert!(
        checks.as_array().is_some_and(|checks| checks.len() > 3),
        "{checks}"
    );
    let doctor: Value = serde_json::from_str(archive.file("host/doctor.json")).expect("JSON");
    assert!(
        doctor
            .as_array()
            .is_some_and(|findings| !findings.is_empty()),
        "{doctor}"
    );

    // Into a pipe it is the same, and nothing is left aside.
    let output = lab
        .command(["diagnose", "told", "-o", "-"])
        .output()
        .expect("it runs");
    assert!(output.status.success());
    Unpacked::of(&output.stdout).assert_has("kubernetes/pods.yaml", &["loud"]);
    let left = fs::read_dir(lab.dir()).expect("read").flatten();
    let left = left.filter(|entry| entry.file_name().to_string_lossy().starts_with(".vial-"));
    assert_eq!(left.count(), 0);
}

#[test]
fn an_archive_comes_from_what_is_stuck_stopped_or_damaged() {
    let lab = Lab::new(&["ill"]);
    let file = lab.file("vial.yaml", FILE);
    lab.vial(["up", "ill", "-f", &file]).ok();
    lab.apply("ill", LOUD);
    await_failure(&lab, "ill");
    let unknown = lab.vial(["diagnose", "il"]);
    assert_eq!(unknown.code, 3, "{unknown:?}");
    assert!(unknown.stderr.contains("did you mean ill"), "{unknown:?}");
    let path = lab.dir().join("ill.tar.gz");
    let diagnose = || {
        lab.vial(["diagnose", "ill", "-o", &path.to_string_lossy()])
            .ok();
        let archive = Unpacked::of(&fs::read(&path).expect("read"));
        archive.assert_clean(&lab.cluster_dir("ill"));
        // What lies on the disks is always there.
        archive.assert_has("logs/w-1/kubelet.log", &["Kubelet version"]);
        archive
    };

    // A keeper and a node that hang: what others know is there, in its time.
    let keeper = lab.status("ill")["keeperPid"].as_i64().expect("a pid");
    let agent = lab.agent_pid("ill", "w-1.node");
    signal(keeper, Signal::STOP);
    signal(agent, Signal::STOP);
    let archive = diagnose();
    archive.assert_has(
        "README.txt",
        &[
            "NOT GATHERED",
            "cluster/status.json: its state",
            "nodes/w-1/",
        ],
    );
    archive.assert_has("cluster/keeper.txt", &["(stopped)"]);
    archive.assert_has("kubernetes/nodes.yaml", &["name: w-1"]);
    archive.assert_has("nodes/cp-1/processes.txt", &["kubelet"]);
    signal(agent, Signal::CONT);

    // A node that is gone, with nobody to bring it back.
    signal(agent, Signal::KILL);
    let archive = diagnose();
    archive.assert_has(
        "README.txt",
        &["nodes/w-1/: what is to be seen on the node\n    its agent does not answer"],
    );

    // All of it is gone but the disks. What a pod says is left out where nobody knows which words are secret.
    signal(keeper, Signal::KILL);
    let pid = fs::read(lab.run_dir().join("ill/init.pid")).expect("a pid file");
    let pid: Value = serde_json::from_slice(&pid).expect("JSON");
    kill(&pid["pid"]);
    let archive = diagnose();
    archive.assert_has("README.txt", &["NOT GATHERED", "\nkubernetes/"]);
    archive.assert_has("cluster/record.json", &["\"name\": \"ill\""]);

    fs::write(lab.cluster_dir("ill").join("cluster.json"), "{").expect("written");
    let archive = diagnose();
    archive.assert_has(
        "README.txt",
        &["cluster/record.json", "1 bytes that are no record"],
    );

    lab.vial(["down", "ill"]).ok();
    // Without a cluster it is about the machine.
    let output = lab
        .command(["diagnose", "-o", "-"])
        .output()
        .expect("it runs");
    let archive = Unpacked::of(&output.stdout);
    archive.assert_has("host/machine.txt", &["Linux version"]);
    assert!(
        archive
            .files
            .keys()
            .all(|path| path.starts_with("host/") || path == "README.txt")
    );
    lab.assert_nothing_left();
}
