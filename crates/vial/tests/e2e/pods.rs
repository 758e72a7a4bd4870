//! Pods to log in to: made, listed, changed, removed; what cannot be is told in a line and leaves nothing.
//!
//! Each person here has a home of the test's own; nothing of whoever runs the tests is read or written.

use serde_json::Value;

use crate::lab::{Lab, Ran, eventually};

/// Every node has it: a Debian with bash.
const TOOLBOX: &str = "docker.io/vial/toolbox:1";
/// One program, no shell.
const PAUSE: &str = "registry.k8s.io/pause:3.10.2";

/// A person at a shell, with ssh on the PATH; `sshv` is ssh that asks nothing and reads this person's files.
fn sh(lab: &Lab, cluster: &str, script: &str) -> Ran {
    let home = lab.dir().join("person");
    std::fs::create_dir_all(&home).expect("made");
    let script = format!(
        "export HOME=\"$1\" VIAL_CLUSTER={cluster}; cd \"$HOME\"
         sshv() {{ ssh -F \"$HOME/.ssh/vial/config\" -o BatchMode=yes \"$@\"; }}
         {script}"
    );
    lab.shell(&script, &[&home.to_string_lossy()])
}

fn pod(lab: &Lab, cluster: &str, name: &str) -> Value {
    let pods = lab.vial(["pod", "ls", "-c", cluster, "-o", "json"]).json();
    let pods = pods.as_array().expect("a list");
    let found = pods.iter().find(|pod| pod["name"] == name);
    found
        .unwrap_or_else(|| panic!("no {name} in {pods:?}"))
        .clone()
}

/// What of vial is in a namespace.
fn left(lab: &Lab, cluster: &str, namespace: &str) -> String {
    let kinds = "pods,services,deployments,secrets,configmaps,persistentvolumeclaims,jobs";
    let args = [
        "get",
        kinds,
        "-n",
        namespace,
        "-l",
        "vial.dev/pod",
        "-o",
        "name",
    ];
    lab.kubectl(cluster, &args).stdout
}

#[test]
fn a_pod_comes_back_with_its_address_and_its_host_key() {
    let lab = Lab::up("boxes", &["--workers", "1"]);
    let create =
        format!("vial pod create dp-test01 --image {TOOLBOX} --user ann --env GREETING=hello");
    sh(&lab, "boxes", &create).ok();
    let who = "sshv dp-test01 'id -un; sudo id -u; echo $GREETING; exit 7'";
    let ran = sh(&lab, "boxes", who);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (7, "ann\n0\nhello\n"),
        "{ran:?}"
    );

    // The same again changes nothing; something else is refused, and said.
    let before = pod(&lab, "boxes", "dp-test01");
    sh(&lab, "boxes", &create).ok();
    assert_eq!(pod(&lab, "boxes", "dp-test01")["pod"], before["pod"]);
    let ran = sh(&lab, "boxes", &create.replace("ann", "bob"));
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(ran.stderr.contains("user: ann, now bob"), "{ran:?}");

    // Deleted it comes back fresh, behind the same address, and ssh asks nothing.
    sh(&lab, "boxes", "sshv dp-test01 'echo mine > /tmp/file'").ok();
    let old = before["pod"].as_str().expect("a name");
    lab.kubectl("boxes", &["delete", "pod", "-n", "vial-pods", old])
        .ok();
    sh(&lab, "boxes", "vial pod wait dp-test01").ok();
    let after = pod(&lab, "boxes", "dp-test01");
    assert_ne!(after["pod"], before["pod"]);
    assert_eq!(after["clusterIps"], before["clusterIps"]);
    let ran = sh(
        &lab,
        "boxes",
        "sshv dp-test01 'test ! -e /tmp/file && id -un'",
    );
    assert_eq!(ran.ok(), "ann");

    sh(
        &lab,
        "boxes",
        "vial pod restart dp-test01 && sshv dp-test01 true",
    )
    .ok();
    sh(&lab, "boxes", "echo content > file && vial pod cp file dp-test01:/tmp/there && vial pod cp dp-test01:/tmp/there back && cmp file back").ok();
    let ran = sh(
        &lab,
        "boxes",
        "vial pod exec dp-test01 -- sh -c 'echo out; echo err >&2; exit 3'",
    );
    assert_eq!((ran.code, ran.stdout.as_str()), (3, "out\n"), "{ran:?}");
    let logs = sh(&lab, "boxes", "vial pod logs dp-test01").ok();
    assert!(logs.contains("listening on"), "{logs}");
    let told = sh(&lab, "boxes", "vial pod describe dp-test01").ok();
    assert!(told.contains("SuccessfulCreate"), "{told}");

    sh(&lab, "boxes", "vial pod rm dp-test01").ok();
    assert_eq!(left(&lab, "boxes", "vial-pods"), "");
    let ran = sh(&lab, "boxes", "vial pod rm dp-test01");
    assert_eq!(ran.code, 3, "{ran:?}");
}

#[test]
fn any_image_will_do() {
    let lab = Lab::up("images", &["--workers", "0"]);
    // One program and no shell: a small one comes with the server; the program goes on beside it.
    let create = format!("vial pod create bare --image {PAUSE} --user ann");
    sh(&lab, "images", &create).ok();
    let ran = sh(
        &lab,
        "images",
        "sshv bare 'echo $((6*7)); ls -d /pause; sudo id -u'",
    );
    assert_eq!(ran.ok(), "42\n/pause\n0");
    // Without any privilege.
    let create = format!("vial pod create meek --image {TOOLBOX} --non-root --read-only");
    sh(&lab, "images", &create).ok();
    assert_eq!(sh(&lab, "images", "sshv meek id -u").ok(), "1000");
    // A command of one's own, and one that ends.
    let create = format!(
        "vial pod create job --image {TOOLBOX} -- sh -c 'echo working; exec sleep infinity'"
    );
    sh(&lab, "images", &create).ok();
    assert!(
        sh(&lab, "images", "vial pod logs job")
            .ok()
            .contains("working")
    );
    let create = format!("vial pod create bad --image {TOOLBOX} -- sh -c 'echo no luck; exit 4'");
    let ran = sh(&lab, "images", &create);
    assert!(
        ran.code == 1 && ran.stderr.contains("exit code 4") && ran.stderr.contains("no luck"),
        "{ran:?}"
    );
    // Its volumes, files and ports.
    let create = format!(
        "echo s3cret > password; echo key=value > app.conf
         vial pod create full --image {TOOLBOX} --secret password --config app.conf --volume data:64Mi --volume /etc:/node:ro --port 8080:80 --cpu 500m --memory 256Mi"
    );
    sh(&lab, "images", &create).ok();
    let seen = "sshv full 'cat /var/secrets/password /var/config/app.conf; test -w /mnt/data; test -e /node/hostname'";
    assert_eq!(sh(&lab, "images", seen).ok(), "s3cret\nkey=value");
    sh(&lab, "images", "vial pod rm --all").ok();
    assert_eq!(left(&lab, "images", "vial-pods"), "");
}

#[test]
fn what_cannot_be_is_told_in_a_line_and_leaves_nothing() {
    let lab = Lab::up("errors", &["--workers", "0"]);
    for (arguments, code, said) in [
        ("Upper", 2, "cannot be the name of a pod"),
        (
            "a --image nowhere.example/none:1",
            1,
            "image nowhere.example/none:1 of pod a cannot be had",
        ),
        ("a --on w-9", 3, "has no node w-9"),
        ("a --cpu 500", 1, "no node takes pod a"),
        ("a --ssh-key missing", 3, "cannot read missing"),
        ("a --ssh-key /etc/hostname", 2, "no public key"),
        ("a --volume nope", 1, "nope"),
        ("a --network other", 2, "no network `other`"),
        ("a -n other", 3, "no namespace other"),
        ("a --ttl never", 2, "unit"),
    ] {
        let image = if arguments.contains("--image") {
            ""
        } else {
            "--image docker.io/vial/toolbox:1"
        };
        let namespace = if arguments.contains("-n other") {
            "--context vial-errors"
        } else {
            ""
        };
        let line = match namespace.is_empty() {
            true => format!("vial pod create {arguments} {image}"),
            false => format!(
                "unset VIAL_CLUSTER; VIAL_HOME=\"$HOME/none\" vial pod create {arguments} {image} {namespace}"
            ),
        };
        let ran = sh(&lab, "errors", &line);
        assert_eq!(ran.code, code, "{arguments}: {ran:?}");
        assert!(ran.stderr.contains(said), "{arguments}: {ran:?}");
        assert_eq!(left(&lab, "errors", "vial-pods"), "", "{arguments}");
    }

    // Pod Security.
    for level in ["restricted", "baseline"] {
        let yaml = format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {level}, labels: {{pod-security.kubernetes.io/enforce: {level}}}}}\n"
        );
        lab.apply("errors", &yaml);
    }
    let create = format!("vial pod create a --image {TOOLBOX}");
    let ran = sh(&lab, "errors", &format!("{create} -n restricted"));
    assert!(
        ran.code == 4 && ran.stderr.contains("--non-root"),
        "{ran:?}"
    );
    assert_eq!(left(&lab, "errors", "restricted"), "");
    sh(
        &lab,
        "errors",
        &format!("{create} -n restricted --non-root"),
    )
    .ok();
    let ran = sh(
        &lab,
        "errors",
        &format!("{create} -n baseline --privileged"),
    );
    assert!(ran.code == 4 && ran.stderr.contains("baseline"), "{ran:?}");
    assert_eq!(left(&lab, "errors", "baseline"), "");
    sh(&lab, "errors", &format!("{create} -n baseline")).ok();
}

#[test]
fn who_has_no_right_is_told_so() {
    let lab = Lab::up("rights", &["--workers", "0"]);
    let yaml = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: ann, namespace: default}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: some, namespace: default}
rules: [{apiGroups: [''], resources: [services, secrets, pods], verbs: ['*']}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: some, namespace: default}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: some}
subjects: [{kind: ServiceAccount, name: ann, namespace: default}]
";
    lab.apply("rights", yaml);
    let token = lab.kubectl("rights", &["create", "token", "ann"]).ok();
    let config = lab.vial(["kubeconfig", "rights", "-o", "json"]).json();
    let cluster = &config["clusters"][0];
    let text = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "clusters": [cluster], "current-context": "ann",
        "users": [{"name": "ann", "user": {"token": token}}],
        "contexts": [{"name": "ann", "context": {"cluster": cluster["name"], "user": "ann"}}],
    });
    let file = lab.file("ann.json", &text.to_string());
    let create = |namespace: &str| {
        let line = format!(
            "unset VIAL_CLUSTER; vial pod create a --image {TOOLBOX} --sshd {PAUSE} -n {namespace} --kubeconfig {file}"
        );
        sh(&lab, "rights", &line)
    };
    let ran = create("vial-pods");
    assert!(ran.code == 4 && ran.stderr.contains("forbidden"), "{ran:?}");
    // Half of the rights make half of a pod, which goes again.
    let ran = create("default");
    assert!(
        ran.code == 4 && ran.stderr.contains("Deployment a"),
        "{ran:?}"
    );
    assert_eq!(left(&lab, "rights", "default"), "");
}

#[test]
fn a_batch_is_what_its_file_says() {
    let lab = Lab::up("batch", &["--workers", "0"]);
    let write = |pods: &str| {
        let text = format!(
            "name: lab\nnamespace: lab\ndefaults: {{image: \"{TOOLBOX}\", user: ann}}\npods:\n{pods}"
        );
        lab.file("pods.yaml", &text)
    };
    let file = write("  dp[1-2]: {cpu: 50m}\n  web: {ports: [80]}\n");
    let create = format!("vial pod create -f {file}");
    sh(&lab, "batch", &create).ok();
    let names = || sh(&lab, "batch", "vial pod ls -n lab -o name").ok();
    assert_eq!(names(), "dp1\ndp2\nweb");
    sh(
        &lab,
        "batch",
        &format!("vial pod create own -n lab --image {TOOLBOX}"),
    )
    .ok();
    // Something is changed, something goes, and what did not come with the batch stays.
    write("  dp1: {cpu: 60m}\n  web: {ports: [80]}\n");
    let ran = sh(&lab, "batch", &format!("{create} --dry-run -o yaml"));
    assert!(
        ran.code == 0 && ran.stdout.contains("kind: Deployment"),
        "{ran:?}"
    );
    let listed = sh(&lab, "batch", &format!("{create} --dry-run -o json")).json();
    let kinds: Vec<_> = (listed["items"].as_array().into_iter().flatten())
        .map(|object| object["kind"].as_str().unwrap_or_default())
        .collect();
    let pod = ["Service", "Secret", "Deployment"];
    assert_eq!((&listed["kind"], kinds), (&"List".into(), pod.repeat(2)));
    assert_eq!(names(), "dp1\ndp2\nown\nweb");
    let ran = sh(&lab, "batch", &create);
    assert!(
        ran.code == 0 && ran.stderr.contains("- remove dp2"),
        "{ran:?}"
    );
    assert_eq!(names(), "dp1\nown\nweb");
    let deployment = lab
        .kubectl(
            "batch",
            &["get", "deployment", "dp1", "-n", "lab", "-o", "json"],
        )
        .json();
    let limits = &deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"];
    assert_eq!(limits["cpu"], "60m");
    write("  dp1: {imag: x}\n");
    assert_eq!(sh(&lab, "batch", &create).code, 2);
    assert_eq!(names(), "dp1\nown\nweb");
}

#[test]
fn a_pod_made_for_a_time_ends_without_vial() {
    let lab = Lab::up("passing", &["--workers", "0"]);
    let jobs = || {
        let jobs = lab.kubectl("passing", &["get", "jobs", "-A", "-o", "json"]);
        jobs.json()["items"].as_array().expect("a list").clone()
    };
    let create = |ttl: &str| {
        let create = "vial pod create passing --replace --no-wait --image";
        sh(&lab, "passing", &format!("{create} {TOOLBOX} {ttl}")).ok();
    };
    create("--ttl 1h");
    create("--ttl 2h");
    let made = jobs();
    assert_eq!(made.len(), 1, "{made:?}");
    let deadline = made[0]["spec"]["activeDeadlineSeconds"].as_i64();
    assert!(
        deadline.is_some_and(|seconds| (7190..=7200).contains(&seconds)),
        "{deadline:?}"
    );
    // What may stay is not ended; what is removed takes its Job along.
    create("");
    assert_eq!(jobs(), [] as [Value; 0]);
    create("--ttl 1h");
    sh(&lab, "passing", "vial pod rm passing").ok();
    eventually("the Job to go with its pod", || match jobs().len() {
        0 => Ok(()),
        some => Err(format!("{some} Jobs")),
    });

    // The keeper of this cluster goes by the annotation: without it, it is as if there were none.
    create("--ttl 8s");
    let forget = [
        "annotate",
        "service",
        "-n",
        "vial-pods",
        "passing",
        "vial.dev/expires-",
    ];
    lab.kubectl("passing", &forget).ok();
    let gone = [
        "wait",
        "--for=delete",
        "service/passing",
        "-n",
        "vial-pods",
        "--timeout=120s",
    ];
    lab.kubectl("passing", &gone).ok();
    eventually("everything of the pod to go", || {
        let left = left(&lab, "passing", "vial-pods");
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

#[test]
fn a_cluster_that_only_a_kubeconfig_knows_is_like_ones_own() {
    let lab = Lab::up("elsewhere", &["--workers", "0"]);
    let config = lab.vial(["kubeconfig", "elsewhere"]).ok();
    let file = lab.file("elsewhere.yaml", &config);
    // A machine that knows nothing of the cluster but this file.
    let away = |script: &str| {
        let script = format!(
            "unset VIAL_CLUSTER; export VIAL_HOME=\"$HOME/none\" VIAL_RUN=\"$HOME/none\" KUBECONFIG={file}; {script}"
        );
        sh(&lab, "elsewhere", &script)
    };
    away(&format!("vial pod create one --image {TOOLBOX} --user ann")).ok();
    // Without an image for the server: by the API alone, and refused where the image has no shell.
    away(&format!("vial pod create two --image {TOOLBOX} --sshd api")).ok();
    let ran = away(&format!("vial pod create three --image {PAUSE} --sshd api"));
    assert!(
        ran.code == 1 && ran.stderr.contains("--sshd IMAGE"),
        "{ran:?}"
    );
    assert_eq!(away("vial pod ls -o name").ok(), "one\ntwo");
    assert_eq!(
        away("sshv one id -un; sshv two.vial-elsewhere.vial id -un").ok(),
        "ann\nroot"
    );
    let megabytes = "head -c 5000000 /dev/zero | sshv one 'wc -c; head -c 5000000 /dev/zero' | tail -c 5000000 | wc -c";
    assert_eq!(away(megabytes).ok().trim(), "5000000");
    away("vial pod rm --all").ok();
    assert_ne!(away("sshv one true").code, 0);
}
