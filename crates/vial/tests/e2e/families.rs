//! Address families.

use crate::lab::Lab;

#[test]
fn ipv4_only() {
    let lab = Lab::up("four", &["--workers", "1", "--ip-family", "ipv4"]);
    lab.vial(["check", "four"]).ok();
    let ips = lab
        .kubectl(
            "four",
            &[
                "-n",
                "kube-system",
                "get",
                "pods",
                "-l",
                "k8s-app=kube-dns",
                "-o",
                "jsonpath={.items[0].status.podIPs[*].ip}",
            ],
        )
        .ok();
    assert!(ips.starts_with("10.244.") && !ips.contains(':'), "{ips}");
}

#[test]
fn ipv6_only() {
    let lab = Lab::up("six", &["--workers", "1", "--ip-family", "ipv6"]);
    lab.vial(["check", "six"]).ok();
    let ips = lab
        .kubectl(
            "six",
            &[
                "-n",
                "kube-system",
                "get",
                "pods",
                "-l",
                "k8s-app=kube-dns",
                "-o",
                "jsonpath={.items[0].status.podIPs[*].ip}",
            ],
        )
        .ok();
    assert!(
        ips.starts_with("fd00:10:244:") && !ips.contains('.'),
        "{ips}"
    );
}

#[test]
fn without_a_cni_nodes_wait_for_one() {
    let lab = Lab::up("bare", &["--workers", "1", "--cni", "none"]);
    let ready = lab
        .kubectl(
            "bare",
            &[
                "get",
                "node",
                "w-1",
                "-o",
                "jsonpath={.status.conditions[?(@.type=='Ready')].status}",
            ],
        )
        .ok();
    assert_eq!(ready, "False");
    let cidr = lab
        .kubectl(
            "bare",
            &["get", "node", "w-1", "-o", "jsonpath={.spec.podCIDR}"],
        )
        .ok();
    assert!(cidr.ends_with("/24"), "{cidr}");
}
