//! Two clusters with the same inner addresses do not know of each other.

use crate::lab::Lab;

const SERVER: &str = "apiVersion: v1
kind: Pod
metadata: {name: server, labels: {app: server}}
spec:
  nodeName: w-1
  containers:
    - {name: c, image: registry.k8s.io/e2e-test-images/agnhost:2.63.0, imagePullPolicy: IfNotPresent, args: [netexec, --http-port=18089]}
";
const CLIENT: &str = "apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  containers: [{name: c, image: vial/toolbox, imagePullPolicy: IfNotPresent, command: [sleep, infinity]}]
";

#[test]
fn a_pod_of_one_cannot_reach_a_pod_of_the_other() {
    let lab = Lab::new(&["left", "right"]);
    lab.vial(["up", "left", "--workers", "1"]).ok();
    lab.vial(["up", "right", "--workers", "1"]).ok();
    let address = |cluster: &str| {
        lab.exec(cluster, "w-1", &["ip", "-br", "address", "show", "eth0"])
            .ok()
    };
    let (left, right) = (address("left"), address("right"));
    assert!(
        left.contains("10.89.0.101/24") && right.contains("10.89.0.101/24"),
        "{left} / {right}"
    );

    lab.apply("left", SERVER);
    lab.apply("left", CLIENT);
    lab.apply("right", CLIENT);
    for (cluster, pod) in [("left", "server"), ("left", "client"), ("right", "client")] {
        lab.await_pod(cluster, pod);
    }
    let ip = lab
        .kubectl(
            "left",
            &["get", "pod", "server", "-o", "jsonpath={.status.podIP}"],
        )
        .ok();
    let url = format!("http://{ip}:18089/hostname");
    let ask = |cluster: &str| {
        lab.kubectl(
            cluster,
            &[
                "exec",
                "client",
                "--",
                "curl",
                "-sS",
                "--max-time",
                "3",
                &url,
            ],
        )
    };
    assert_eq!(ask("left").ok(), "server");
    let other = ask("right");
    assert!(
        other.code != 0 && !other.stdout.contains("server"),
        "{other:?}"
    );

    // One goes, the other stays.
    lab.vial(["down", "left"]).ok();
    lab.vial(["check", "right"]).ok();
    lab.vial(["down", "--all"]).ok();
    lab.assert_nothing_left();
}
