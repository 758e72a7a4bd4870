//! What a file that can be read means, and what is said of one that cannot be a cluster.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io;
use std::path::Path;

use indoc::indoc;
use vial_spec::file::MachineEntry;
use vial_spec::validate::ReadFile;
use vial_spec::{
    ClusterSpec, Cni, DiskCache, DiskContent, DiskFormat, File, IpFamily, Machine, NodeConfig,
    Overrides, ValidationErrors, mac_text,
};

const HEAD: &str = "apiVersion: vial/v1\nkind: Cluster\n";

/// There is one file: `app.yaml`.
const FILES: ReadFile<'static> = &|path: &Path| match path.to_str() {
    Some("app.yaml") => Ok("{apiVersion: v1, kind: Namespace}\n".to_owned()),
    _ => Err(io::Error::from(io::ErrorKind::NotFound)),
};

fn validate(fields: &str, overrides: &Overrides) -> Result<ClusterSpec, ValidationErrors> {
    let file = File::parse(&format!("{HEAD}{fields}"), "vial.yaml")
        .unwrap_or_else(|error| panic!("{error}"));
    file.validate(overrides, FILES)
}

/// The fields after the head, which takes the lines 1 and 2.
fn spec(fields: &str) -> ClusterSpec {
    validate(fields, &Overrides::default()).unwrap_or_else(|errors| panic!("{errors}"))
}

fn errors(fields: &str) -> String {
    validate(fields, &Overrides::default())
        .expect_err(fields)
        .to_string()
}

fn node<'a>(spec: &'a ClusterSpec, name: &str) -> &'a NodeConfig {
    spec.node(name).unwrap()
}

fn taints(node: &NodeConfig) -> Vec<String> {
    node.taints
        .iter()
        .map(|taint| format!("{}={}:{}", taint.key, taint.value, taint.effect))
        .collect()
}

#[test]
fn no_file_is_a_cluster_with_two_workers() {
    let spec = File::default()
        .validate(&Overrides::default(), FILES)
        .unwrap();
    assert_eq!(
        (spec.name.as_str(), spec.node_image.as_str()),
        ("vial", "vial/node:v1.36.3")
    );
    let names: Vec<&str> = spec.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["cp-1", "w-1", "w-2"]);
    assert_eq!(
        spec.network.pod_cidrs,
        ["10.244.0.0/16", "fd00:10:244::/56"].map(|net| net.parse().unwrap())
    );
    assert_eq!(
        spec.network.service_cidrs,
        ["10.96.0.0/16", "fd00:10:96::/112"].map(|net| net.parse().unwrap())
    );
    assert_eq!(
        (spec.network.ip_family, spec.network.cni),
        (IpFamily::Dual, Cni::Bridge)
    );
    assert!(!spec.etcd.fsync);
    assert_eq!(spec, self::spec(""), "an empty file says the same");
}

#[test]
fn the_command_line_wins() {
    let overrides = Overrides {
        name: Some("ci".into()),
        workers: Some(1),
        node_image: Some("mine:v1".into()),
        ip_family: Some(IpFamily::Ipv6),
        cni: Some(Cni::None),
        ..Overrides::default()
    };
    let file =
        "name: dev\nkubernetes: v1.35.0\nworkers: {count: 9, labels: {a: b}}\nipFamily: ipv4\n";
    let spec = validate(file, &overrides).unwrap();
    assert_eq!(
        (spec.name.as_str(), spec.node_image.as_str()),
        ("ci", "mine:v1")
    );
    assert_eq!((spec.nodes.len(), spec.network.cni), (2, Cni::None));
    assert_eq!(
        node(&spec, "w-1").labels["a"],
        "b",
        "only the count is replaced"
    );
    assert_eq!(
        spec.network.pod_cidrs,
        ["fd00:10:244::/56".parse().unwrap()]
    );
    let kubernetes = Overrides {
        kubernetes: Some("1.35.1".into()),
        ..Overrides::default()
    };
    assert_eq!(
        validate("nodeImage: mine:v1\n", &kubernetes)
            .unwrap()
            .node_image,
        "vial/node:v1.35.1"
    );
}

#[test]
fn the_control_plane_is_reserved_while_there_are_workers() {
    let role = "node-role.kubernetes.io/control-plane";
    let reserved = format!("{role}=:NoSchedule");
    assert_eq!(
        taints(node(&spec(""), "cp-1")),
        std::slice::from_ref(&reserved)
    );
    assert_eq!(node(&spec(""), "cp-1").labels[role], "");
    assert_eq!(taints(node(&spec("workers: 0"), "cp-1")), [""; 0]);
    assert_eq!(
        taints(node(&spec("controlPlane: {taints: []}"), "cp-1")),
        [""; 0]
    );
    assert_eq!(
        taints(node(
            &spec("controlPlane: {taints: [a=b:NoExecute]}"),
            "cp-1"
        )),
        ["a=b:NoExecute"]
    );
    assert_eq!(
        taints(node(&spec("nodes: {cp-1: {taints: []}}"), "cp-1")),
        [""; 0]
    );
    assert_eq!(
        taints(node(&spec("nodes: {cp-1: {labels: {a: b}}}"), "cp-1")),
        [reserved]
    );
    assert_eq!(taints(node(&spec(""), "w-1")), [""; 0]);
}

#[test]
fn a_node_has_its_groups_things_and_its_own() {
    let spec = spec(indoc! {"
        workers:
          count: 2
          labels: {a: group, b: group}
          taints: [group:NoSchedule]
          mounts:
            - {hostPath: /srv/a, nodePath: /a}
            - {hostPath: /srv/b, nodePath: /b/}
          files:
            - {path: /etc/a, content: group}
            - {path: /etc//b, content: group, mode: 0600}
          components:
            kubelet: {args: {v: 2, group: 1}, config: {maxPods: 50}}
        nodes:
          w-2:
            labels: {b: 1.10}
            taints: [{key: own, effect: NoExecute}]
            mounts: [{hostPath: /own, nodePath: /b, readOnly: true}]
            files: [{path: /etc/b, content: own}]
            components:
              kubelet: {args: {v: 4, gone: null}, env: {A: b}}
    "});
    let (one, two) = (node(&spec, "w-1"), node(&spec, "w-2"));
    assert_eq!(
        (
            one.labels["b"].as_str(),
            two.labels["a"].as_str(),
            two.labels["b"].as_str()
        ),
        ("group", "group", "1.10")
    );
    assert_eq!(
        (taints(one), taints(two)),
        (
            vec!["group=:NoSchedule".into()],
            vec!["own=:NoExecute".into()]
        )
    );
    let mounts = |node: &NodeConfig| {
        node.mounts
            .iter()
            .map(|m| (m.host_path.clone(), m.node_path.clone(), m.read_only))
            .collect::<Vec<_>>()
    };
    assert_eq!(mounts(one)[1], ("/srv/b".into(), "/b".into(), false));
    assert_eq!(
        mounts(two),
        [
            ("/srv/a".into(), "/a".into(), false),
            ("/own".into(), "/b".into(), true)
        ]
    );
    let files = |node: &NodeConfig| {
        node.files
            .iter()
            .map(|f| (f.path.clone(), f.content.clone(), f.mode))
            .collect::<Vec<_>>()
    };
    assert_eq!(files(one)[1], ("/etc/b".into(), "group".into(), 0o600));
    assert_eq!(files(two)[1], ("/etc/b".into(), "own".into(), 0o644));
    let kubelet = &two.components["kubelet"];
    assert_eq!(kubelet.args["v"].as_deref(), Some("4"));
    assert_eq!(kubelet.args["group"].as_deref(), Some("1"));
    assert_eq!(kubelet.args["gone"], None);
    assert_eq!(
        (
            kubelet.env["A"].as_str(),
            kubelet.config["maxPods"].as_u64()
        ),
        ("b", Some(50))
    );
}

#[test]
fn arguments_are_taken_as_they_are_written() {
    let spec = spec(
        r#"components: {kubelet: {args: {a: 1.10, b: true, c: "null", d: ~, e: "", f: 0755, g: yes}}}"#,
    );
    let args = &spec.components["kubelet"].args;
    let expected = [
        Some("1.10"),
        Some("true"),
        Some("null"),
        None,
        Some(""),
        Some("0755"),
        Some("yes"),
    ];
    assert_eq!(
        args.values()
            .map(|value| value.as_deref())
            .collect::<Vec<_>>(),
        expected
    );
}

#[test]
fn networks_are_sorted_ipv4_first() {
    let spec = spec(
        "network:\n  podCIDR: [fd01::/48, 10.0.0.0/16]\n  serviceCIDR: 'fd02::/112, 10.1.0.0/16'\n",
    );
    assert_eq!(
        spec.network.pod_cidrs,
        ["10.0.0.0/16", "fd01::/48"].map(|net| net.parse().unwrap())
    );
    assert_eq!(
        spec.network.service_cidrs,
        ["10.1.0.0/16", "fd02::/112"].map(|net| net.parse().unwrap())
    );
}

#[test]
fn upstreams_have_port_53_unless_given() {
    let spec = spec(
        r#"network: {dns: {upstreams: [192.0.2.53, "2001:db8::1", "[2001:db8::1]:5353", "[::1]"]}}"#,
    );
    let texts: Vec<String> = spec
        .network
        .dns_upstreams
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        texts,
        [
            "192.0.2.53:53",
            "[2001:db8::1]:53",
            "[2001:db8::1]:5353",
            "[::1]:53"
        ]
    );
}

#[test]
fn manifests_are_read_and_named() {
    let spec = spec(indoc! {"
        manifests:
          - app.yaml
          - content: '{apiVersion: v1, kind: Pod}'
          - {name: ns, content: '{apiVersion: v1, kind: Secret}'}
    "});
    let named: Vec<_> = spec
        .manifests
        .iter()
        .map(|m| (m.name.as_str(), m.content.as_str()))
        .collect();
    assert_eq!(
        named,
        [
            ("app.yaml", "{apiVersion: v1, kind: Namespace}\n"),
            ("inline 1", "{apiVersion: v1, kind: Pod}"),
            ("ns", "{apiVersion: v1, kind: Secret}")
        ]
    );
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_the_file() {
    insta::assert_snapshot!(errors(indoc! {"
        name: My Cluster
        workers: 30
        network:
          podCIDR: 10.89.0.0/16
        nodes:
          w-1: {labels: {a: b c}}
          w-21: {}
        components:
          kube-api-server: {}
    "}), @r#"
    vial.yaml:3:1: name: "My Cluster" has a 'M', possible are lower-case letters, digits and "-"
    vial.yaml:4:1: workers: 30 workers are too many, at most 20 are possible
    vial.yaml:6:3: network.podCIDR: there is no IPv6 network, but ipFamily is dual; add one, as fd00:10:244::/56 is, or write ipFamily: ipv4
    vial.yaml:6:3: network.podCIDR: 10.89.0.0/16 overlaps with the management network 10.89.0.0/24
    vial.yaml:8:18: nodes.w-1.labels.a: "b c" is not a value: it must have at most 63 letters, digits, "-", "_" and ".", the first and last a letter or a digit
    vial.yaml:9:3: nodes.w-21: there is no node "w-21"; the cluster has cp-1 and w-1 to w-20; at most 20 workers are possible
    vial.yaml:11:3: components.kube-api-server: there is no component "kube-api-server"; did you mean "kube-apiserver"? (possible are containerd, coredns, etcd, kube-apiserver, kube-controller-manager, kube-proxy, kube-scheduler, kubelet)
    "#);
}

#[test]
fn names_and_counts() {
    insta::assert_snapshot!(errors("name: a.b"), @r#"vial.yaml:3:1: name: "a.b" has a '.', possible are lower-case letters, digits and "-""#);
    insta::assert_snapshot!(errors("workers: 21"), @"vial.yaml:3:1: workers: 21 workers are too many, at most 20 are possible");
    insta::assert_snapshot!(errors("workers: 99999999999"), @"vial.yaml:3:1: workers: 99999999999 workers are too many, at most 20 are possible");
    insta::assert_snapshot!(errors("workers:\n  count: 50"), @"vial.yaml:4:3: workers.count: 50 workers are too many, at most 20 are possible");
    insta::assert_snapshot!(errors("workers: 2\nnodes:\n  w-3: {}\n"), @r#"vial.yaml:5:3: nodes.w-3: there is no node "w-3"; the cluster has cp-1 and w-1 to w-2; workers: 3 would make it"#);
    insta::assert_snapshot!(errors("workers: 1\nnodes:\n  worker-1: {}\n"), @r#"vial.yaml:5:3: nodes.worker-1: there is no node "worker-1"; the cluster has cp-1 and w-1"#);
    insta::assert_snapshot!(errors("workers: 0\nnodes:\n  cp1: {}\n"), @r#"vial.yaml:5:3: nodes.cp1: there is no node "cp1"; did you mean "cp-1"? (the cluster has cp-1)"#);
    let overrides = Overrides {
        name: Some("-x".into()),
        workers: Some(21),
        ..Overrides::default()
    };
    insta::assert_snapshot!(validate("name: ok", &overrides).unwrap_err(), @r#"
    NAME: "-x" must begin and end with a letter or a digit
    --workers: 21 workers are too many, at most 20 are possible
    "#);
}

#[test]
fn versions_and_images() {
    insta::assert_snapshot!(errors("kubernetes: 1.36"), @r#"vial.yaml:3:1: kubernetes: "1.36" is not a whole version, as v1.36.3 is"#);
    insta::assert_snapshot!(errors("kubernetes: latest"), @r#"vial.yaml:3:1: kubernetes: "latest" is not a version of Kubernetes, as v1.36.3 is"#);
    insta::assert_snapshot!(errors("nodeImage: Vial/Node"), @r#"vial.yaml:3:1: nodeImage: "Vial/Node" is not the name of an image, as vial/node:v1.36.3 is: a name has lower-case letters and digits, with ".", "_", "-" and "/" between"#);
    insta::assert_snapshot!(errors("kubernetes: v1.36.3\nnodeImage: vial/node:v1.36.3"), @"vial.yaml:4:1: nodeImage: kubernetes says already which image; give one of them");
    let overrides = Overrides {
        kubernetes: Some("x".into()),
        ..Overrides::default()
    };
    insta::assert_snapshot!(validate("", &overrides).unwrap_err(), @r#"--kubernetes: "x" is not a version of Kubernetes, as v1.36.3 is"#);
}

#[test]
fn networks() {
    let network = |text: &str| errors(&format!("network: {{{text}}}"));
    insta::assert_snapshot!(network("podCIDR: '10.244.0.0/20,fd00:10:244::/60'"), @r#"
    vial.yaml:3:11: network.podCIDR: 10.244.0.0/20 is too small: every node gets a /24 of it, so it must be a /19 at least
    vial.yaml:3:11: network.podCIDR: fd00:10:244::/60 is too small: every node gets a /64 of it, so it must be a /59 at least
    "#);
    insta::assert_snapshot!(network("serviceCIDR: '10.0.0.0/8,fd00::/64'"), @r#"
    vial.yaml:3:11: network.serviceCIDR: 10.0.0.0/8 is too large: it must be between /12 and /28
    vial.yaml:3:11: network.serviceCIDR: fd00::/64 is too large: it must be between /108 and /124
    vial.yaml:3:11: network.serviceCIDR: 10.0.0.0/8 overlaps with the management network 10.89.0.0/24
    vial.yaml:3:11: network.serviceCIDR: 10.0.0.0/8 overlaps with the pods' network 10.244.0.0/16
    "#);
    insta::assert_snapshot!(network("serviceCIDR: '10.96.0.0/29,fd00:10:96::/125'"), @r#"
    vial.yaml:3:11: network.serviceCIDR: 10.96.0.0/29 is too small: it must be between /12 and /28
    vial.yaml:3:11: network.serviceCIDR: fd00:10:96::/125 is too small: it must be between /108 and /124
    "#);
    insta::assert_snapshot!(network("podCIDR: '10.0.0.0/8,fd00::/16'"), @r#"
    vial.yaml:3:11: network.podCIDR: 10.0.0.0/8 overlaps with the management network 10.89.0.0/24
    vial.yaml:3:11: network.podCIDR: 10.0.0.0/8 overlaps with the services' network 10.96.0.0/16
    vial.yaml:3:11: network.podCIDR: fd00::/16 overlaps with the services' network fd00:10:96::/112
    "#);
    insta::assert_snapshot!(network("podCIDR: 10.0.0.0/16"), @"vial.yaml:3:11: network.podCIDR: there is no IPv6 network, but ipFamily is dual; add one, as fd00:10:244::/56 is, or write ipFamily: ipv4");
    insta::assert_snapshot!(network("podCIDR: [10.0.0.0/16, 10.1.0.0/16]"), @r#"
    vial.yaml:3:11: network.podCIDR: there is no IPv6 network, but ipFamily is dual; add one, as fd00:10:244::/56 is, or write ipFamily: ipv4
    vial.yaml:3:34: network.podCIDR[1]: 10.1.0.0/16 is the second IPv4 network, one for each family is possible
    "#);
    insta::assert_snapshot!(network("podCIDR: [10.0.1.0/16, nonsense, 10.0.0.0]"), @r#"
    vial.yaml:3:21: network.podCIDR[0]: "10.0.1.0/16" is an address in a network, the network itself is 10.0.0.0/16
    vial.yaml:3:34: network.podCIDR[1]: "nonsense" is not a CIDR, as 10.244.0.0/16 and fd00:10:244::/56 are
    vial.yaml:3:44: network.podCIDR[2]: "10.0.0.0" has no prefix length, as in 10.0.0.0/24
    "#);
    insta::assert_snapshot!(network("podCIDR: '0.0.0.0/0,::/0'"), @r#"
    vial.yaml:3:11: network.podCIDR: 0.0.0.0/0 contains addresses of "this network" (0.0.0.0/8)
    vial.yaml:3:11: network.podCIDR: ::/0 contains loopback and unspecified addresses (::/96)
    vial.yaml:3:11: network.podCIDR: 0.0.0.0/0 overlaps with the management network 10.89.0.0/24
    vial.yaml:3:11: network.podCIDR: ::/0 overlaps with the management network fd89::/64
    vial.yaml:3:11: network.podCIDR: 0.0.0.0/0 overlaps with the services' network 10.96.0.0/16
    vial.yaml:3:11: network.podCIDR: ::/0 overlaps with the services' network fd00:10:96::/112
    "#);
    insta::assert_snapshot!(network("serviceCIDR: '127.89.0.0/16,ff00::/112'"), @r#"
    vial.yaml:3:11: network.serviceCIDR: 127.89.0.0/16 contains loopback addresses (127.0.0.0/8)
    vial.yaml:3:11: network.serviceCIDR: ff00::/112 contains multicast addresses (ff00::/8)
    "#);
    insta::assert_snapshot!(network("podCIDR: ''"), @r#"vial.yaml:3:11: network.podCIDR: "" is not a CIDR, as 10.244.0.0/16 and fd00:10:244::/56 are"#);
    insta::assert_snapshot!(errors("ipFamily: ipv4\nnetwork: {podCIDR: 'fd00::/48'}"), @r#"
    vial.yaml:4:11: network.podCIDR: fd00::/48 is IPv6, but ipFamily is ipv4; leave it out, or write ipFamily: dual
    vial.yaml:4:11: network.podCIDR: there is no IPv4 network, but ipFamily is ipv4; add one, as 10.244.0.0/16 is
    "#);
    insta::assert_snapshot!(errors("ipFamily: ipv6\nnetwork: {serviceCIDR: '10.0.0.0/16,fd02::/112'}"), @"vial.yaml:4:11: network.serviceCIDR: 10.0.0.0/16 is IPv4, but ipFamily is ipv6; leave it out, or write ipFamily: dual");
    insta::assert_snapshot!(network("dns: {upstreams: [dns.example, '1.2.3.4:0']}"), @r#"
    vial.yaml:3:29: network.dns.upstreams[0]: "dns.example" is not the address of a server; write 192.0.2.53, 192.0.2.53:5353, 2001:db8::1 or "[2001:db8::1]:5353"
    vial.yaml:3:42: network.dns.upstreams[1]: "1.2.3.4:0" is not the address of a server; write 192.0.2.53, 192.0.2.53:5353, 2001:db8::1 or "[2001:db8::1]:5353"
    "#);
}

#[test]
fn labels_and_taints() {
    let plane = |text: &str| errors(&format!("controlPlane: {{{text}}}"));
    insta::assert_snapshot!(plane("labels: {'-a': b}"), @r#"vial.yaml:3:25: controlPlane.labels.-a: "-a" is not a key: its name must have 1 to 63 letters, digits, "-", "_" and ".", the first and last a letter or a digit"#);
    insta::assert_snapshot!(plane("labels: {'Example.com/a': b}"), @r#"vial.yaml:3:25: controlPlane.labels["Example.com/a"]: "Example.com/a" is not a key: what is before the "/" must be a DNS name in lower case"#);
    insta::assert_snapshot!(plane("labels: {'a/b/c': b}"), @r#"vial.yaml:3:25: controlPlane.labels["a/b/c"]: "a/b/c" is not a key: its name must have 1 to 63 letters, digits, "-", "_" and ".", the first and last a letter or a digit"#);
    insta::assert_snapshot!(plane("labels: {a: 'b c'}"), @r#"vial.yaml:3:25: controlPlane.labels.a: "b c" is not a value: it must have at most 63 letters, digits, "-", "_" and ".", the first and last a letter or a digit"#);
    insta::assert_snapshot!(plane(&format!("labels: {{a: {}}}", "x".repeat(64))), @r#"vial.yaml:3:25: controlPlane.labels.a: "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" is not a value: it must have at most 63 letters, digits, "-", "_" and ".", the first and last a letter or a digit"#);
    insta::assert_snapshot!(plane("taints: [{key: a, effect: noschedule}]"), @r#"vial.yaml:3:34: controlPlane.taints[0].effect: "noschedule" is not the effect of a taint; did you mean "NoSchedule"?"#);
    insta::assert_snapshot!(plane("taints: ['a=b:Never']"), @r#"vial.yaml:3:25: controlPlane.taints[0]: "Never" is not the effect of a taint; possible are NoSchedule, PreferNoSchedule, NoExecute"#);
    insta::assert_snapshot!(plane("taints: [a]"), @r#"vial.yaml:3:25: controlPlane.taints[0]: "a" is not a taint, as key=value:NoSchedule is"#);
    insta::assert_snapshot!(plane("taints: ['a=1:NoSchedule', 'a=2:NoSchedule']"), @"vial.yaml:3:43: controlPlane.taints[1]: the taint a:NoSchedule is there twice");
}

#[test]
fn components() {
    insta::assert_snapshot!(errors("components: {scheduler: {}}"), @r#"vial.yaml:3:14: components.scheduler: there is no component "scheduler"; did you mean "kube-scheduler"? (possible are containerd, coredns, etcd, kube-apiserver, kube-controller-manager, kube-proxy, kube-scheduler, kubelet)"#);
    insta::assert_snapshot!(errors("components: {postgres: {}}"), @r#"vial.yaml:3:14: components.postgres: there is no component "postgres"; possible are containerd, coredns, etcd, kube-apiserver, kube-controller-manager, kube-proxy, kube-scheduler, kubelet"#);
    insta::assert_snapshot!(errors("workers: {components: {etcd: {}}}"), @"vial.yaml:3:24: workers.components.etcd: etcd does not run on workers");
    insta::assert_snapshot!(errors("nodes: {w-1: {components: {coredns: {}}}}"), @"vial.yaml:3:28: nodes.w-1.components.coredns: coredns runs as pods, not on single nodes; change it for the whole cluster: components.coredns");
    insta::assert_snapshot!(errors("components: {kubelet: {args: {--v: 4, 'v=4': x, 'a b': x, '': x}}}"), @r#"
    vial.yaml:3:31: components.kubelet.args.--v: "--v" is not the name of a flag; write it without the leading dashes: v
    vial.yaml:3:39: components.kubelet.args["v=4"]: "v=4" is a flag and its value; write v: "4"
    vial.yaml:3:49: components.kubelet.args["a b"]: "a b" is not the name of a flag
    vial.yaml:3:59: components.kubelet.args[""]: "" is not the name of a flag
    "#);
    insta::assert_snapshot!(errors("components: {kubelet: {env: {1A: x, 'A=B': x}}}"), @r#"
    vial.yaml:3:30: components.kubelet.env.1A: "1A" is not the name of an environment variable, as GODEBUG is
    vial.yaml:3:37: components.kubelet.env["A=B"]: "A=B" is not the name of an environment variable, as GODEBUG is
    "#);
    insta::assert_snapshot!(errors("components: {etcd: {config: {a: b}}}"), @"vial.yaml:3:21: components.etcd.config: etcd has no configuration file that can be changed; only kube-proxy and kubelet have; use args");
    insta::assert_snapshot!(errors("workers: {labels: {kubernetes.io/hostname: a}}"), @r#"vial.yaml:3:20: workers.labels["kubernetes.io/hostname"]: kubernetes.io/hostname is what the kubelet says of its node, it cannot be chosen"#);
    insta::assert_snapshot!(errors("featureGates: {allAlpha: true}"), @r#"vial.yaml:3:16: featureGates.allAlpha: "allAlpha" is not the name of a feature gate, as AllAlpha is"#);
}

#[test]
fn mounts_files_and_manifests() {
    let workers = |text: &str| errors(&format!("workers:\n  {text}\n"));
    insta::assert_snapshot!(workers("mounts: [{hostPath: ./src, nodePath: src}]"), @r#"
    vial.yaml:4:13: workers.mounts[0].hostPath: "./src" is not an absolute path of the host; begin it with "/"
    vial.yaml:4:30: workers.mounts[0].nodePath: "src" is not an absolute path in the node; begin it with "/"
    "#);
    insta::assert_snapshot!(workers("mounts: [{hostPath: /a/../b, nodePath: /}, {hostPath: /, nodePath: /proc/x}]"), @r#"
    vial.yaml:4:13: workers.mounts[0].hostPath: "/a/../b" has a "." or "..", write the path itself
    vial.yaml:4:32: workers.mounts[0].nodePath: nothing can be put at "/" of a node, that is the node's own
    vial.yaml:4:60: workers.mounts[1].nodePath: nothing can be put at "/proc/x" of a node, that is the node's own
    "#);
    insta::assert_snapshot!(workers("mounts: [{hostPath: /a, nodePath: /x}, {hostPath: /b, nodePath: /x/}]"), @r#"vial.yaml:4:57: workers.mounts[1].nodePath: something is mounted at "/x" already"#);
    insta::assert_snapshot!(workers("files: [{path: /a, content: x}, {path: //a, content: y}]"), @r#"vial.yaml:4:36: workers.files[1].path: the file "/a" is there already"#);
    insta::assert_snapshot!(workers("files: [{path: /a}, {path: /b, content: x, source: y}, {path: /c, source: gone}]"), @r#"
    vial.yaml:4:11: workers.files[0]: what is in the file? write content: or source:
    vial.yaml:4:23: workers.files[1]: it has a content and a source, one of them is possible
    vial.yaml:4:69: workers.files[2].source: cannot read "gone": entity not found
    "#);
    insta::assert_snapshot!(workers("files: [{path: /a/, content: x, mode: 0o644}, {path: /b, content: x, mode: 888}]"), @r#"
    vial.yaml:4:12: workers.files[0].path: "/a/" is a directory, a file is needed
    vial.yaml:4:35: workers.files[0].mode: "0o644" is not a mode, three or four octal digits are: "0644"
    vial.yaml:4:72: workers.files[1].mode: "888" is not a mode, three or four octal digits are: "0644"
    "#);
    insta::assert_snapshot!(errors("manifests: [gone.yaml, {content: ' '}, {content: 'a: [b'}]"), @r#"
    vial.yaml:3:13: manifests[0]: cannot read "gone.yaml": entity not found
    vial.yaml:3:25: manifests[1].content: the manifest "inline 1" is empty
    vial.yaml:3:41: manifests[2].content: the manifest "inline 2" is not YAML: unclosed bracket '[' at line 1, column 4
    "#);
}

#[test]
fn machines_come_after_containers_and_are_described_where_they_are_made() {
    let drivers = |spec: &ClusterSpec| {
        let nodes = spec.nodes.iter();
        let nodes = nodes.map(|node| format!("{} {:?}", node.name, node.driver()));
        nodes.collect::<Vec<_>>().join(", ")
    };
    let vm_workers = |workers, vm_workers| Overrides {
        workers,
        vm_workers,
        ..Overrides::default()
    };
    let made = |overrides: &Overrides| drivers(&validate("", overrides).unwrap());
    let alone = "cp-1 Container, w-1 Vm";
    assert_eq!(made(&vm_workers(None, Some(1))), alone);
    assert_eq!(drivers(&spec("vmWorkers: 1")), alone);
    let both = "cp-1 Container, w-1 Container, w-2 Vm";
    assert_eq!(made(&vm_workers(Some(1), Some(1))), both);
    assert_eq!(drivers(&spec("workers: 1\nvmWorkers: 1")), both);
    let usual = "cp-1 Container, w-1 Container, w-2 Container";
    assert_eq!(made(&vm_workers(None, Some(0))), usual);

    let spec = spec(indoc! {"
        workers: {count: 1, vm: {memory: 1Gi, kernelArgs: [quiet], sysctls: {vm.swappiness: 10}}}
        vmWorkers: 2
        nodes:
          w-3: {vm: {cpus: 4, kernelArgs: [nokaslr], sysctls: {vm.swappiness: 0}, diskCache: unsafe}}
    "});
    assert_eq!(
        drivers(&spec),
        "cp-1 Container, w-1 Container, w-2 Vm, w-3 Vm"
    );
    let machine = |name: &str| node(&spec, name).machine.clone().unwrap();
    let two = Machine {
        memory: "1Gi".parse().unwrap(),
        kernel_args: vec!["quiet".into()],
        sysctls: [("vm.swappiness".into(), "10".into())].into(),
        ..Machine::default()
    };
    assert_eq!(machine("w-2"), two);
    let three = Machine {
        cpus: 4,
        disk_cache: DiskCache::Unsafe,
        kernel_args: vec!["quiet".into(), "nokaslr".into()],
        sysctls: [("vm.swappiness".into(), "0".into())].into(),
        ..two
    };
    assert_eq!(machine("w-3"), three);
}

#[test]
fn the_shape_of_a_machine() {
    let spec = spec(indoc::indoc! {"
        workers:
          driver: vm
          count: 2
          vm:
            swap: 256Mi
            disks:
              - {name: scratch, size: 1Gi}
              - {name: both, bus: scsi, size: 64Mi, shared: true}
            nics: [{network: mgmt}]
        nodes:
          w-2:
            vm:
              numa:
                - {cpus: 2, memory: 1Gi, distances: [10, 30]}
                - {cpus: 1, memory: 512Mi, distances: [30, 10]}
              hugePages: {2Mi: 64Mi, 1Gi: 0Gi}
              disks: [{name: scratch, bus: nvme, file: /srv/x.qcow2, readOnly: true}]
              nics:
                - {network: storage, model: vmxnet3, mac: '02:00:00:00:07:0A', addresses: [192.168.7.1/24]}
                - {network: storage}
    "}.replace(", 1Gi: 0Gi", "").as_str());
    let machine = |name: &str| {
        let mut nodes = spec.nodes.iter();
        let node = nodes.find(|node| node.name == name).unwrap();
        node.machine.clone().unwrap()
    };
    let (one, two) = (machine("w-1"), machine("w-2"));
    assert_eq!((one.cpus, one.memory.to_string()), (2, "2Gi".into()));
    assert_eq!((two.cpus, two.memory.to_string()), (3, "1536Mi".into()));
    assert_eq!(one.swap, two.swap);
    assert_eq!(mac_text(one.nics[0].mac), "02:00:00:01:01:01");
    let macs: Vec<_> = two.nics.iter().map(|nic| mac_text(nic.mac)).collect();
    assert_eq!(macs, ["02:00:00:00:07:0a", "02:00:00:02:01:02"]);
    let names: Vec<_> = two.disks.iter().map(|disk| disk.name.as_str()).collect();
    assert_eq!(names, ["both", "scratch"]);
    assert_eq!(one.disks[1], two.disks[0]);
    let file = DiskContent::File {
        path: "/srv/x.qcow2".into(),
        format: DiskFormat::Qcow2,
    };
    assert_eq!(two.disks[1].content, file);
    assert_eq!(two.huge_pages.len(), 1);
}

#[test]
fn shapes_that_cannot_be() {
    let of = |vm: &str| errors(&format!("vmWorkers: 1\nnodes: {{w-1: {{vm: {{{vm}}}}}}}"));
    insta::assert_snapshot!(of("cpus: 2, numa: [{cpus: 1, memory: 1Gi}, {cpus: 2, memory: 1Gi, distances: [9]}]"), @r"
    vial.yaml:4:29: nodes.w-1.vm.numa: either all parts have `distances`, or none
    vial.yaml:4:29: nodes.w-1.vm.numa: the parts have 3 processors, the machine 2
    vial.yaml:4:83: nodes.w-1.vm.numa[1].distances: there are 2 parts, and 1 distances to them
    ");
    insta::assert_snapshot!(of("memory: 1Gi, numa: [{memory: 512Mi, distances: [11, 255]}, {memory: 1M, distances: [20, 10]}]"), @r"
    vial.yaml:4:33: nodes.w-1.vm.numa: the parts have 0 processors, the machine 1 to 64
    vial.yaml:4:33: nodes.w-1.vm.numa: the parts have 537870912 of memory, the machine 1Gi
    vial.yaml:4:68: nodes.w-1.vm.numa[0].distances[0]: the distance to itself is 10
    vial.yaml:4:72: nodes.w-1.vm.numa[0].distances[1]: the distance to another part is 11 to 254
    vial.yaml:4:80: nodes.w-1.vm.numa[1].memory: 1M is not a number of whole Mi, 64Mi at least
    ");
    insta::assert_snapshot!(of("memory: 1Gi, hugePages: {1Gi: 1Gi, 2Mi: 3Mi}"), @r"
    vial.yaml:4:33: nodes.w-1.vm.hugePages: of 1Gi of memory, 1027Mi in huge pages leave less than the 512Mi that a node needs
    vial.yaml:4:55: nodes.w-1.vm.hugePages.2Mi: 3Mi is not a multiple of 2Mi
    ");
    insta::assert_snapshot!(of("disks: [{name: data, size: 1Gi}, {name: A, size: 1}, {name: x}, {name: x, size: 1Gi, file: y}, {name: q, file: y.qcow2, shared: true}]"), @r#"
    vial.yaml:4:29: nodes.w-1.vm.disks[0].name: "data" is the name of a disk that every machine has
    vial.yaml:4:54: nodes.w-1.vm.disks[1].name: "A" is not the name of a disk: 1 to 20 lower-case letters, digits and "-"
    vial.yaml:4:63: nodes.w-1.vm.disks[1].size: 1 is too little, 1Mi is the least
    vial.yaml:4:73: nodes.w-1.vm.disks[2]: a disk has either `size` or `file`
    vial.yaml:4:84: nodes.w-1.vm.disks[3]: a disk has either `size` or `file`
    vial.yaml:4:85: nodes.w-1.vm.disks[3].name: the disk "x" is there twice
    vial.yaml:4:140: nodes.w-1.vm.disks[4].shared: a qcow2 file has one writer: it can only be shared with `readOnly: true`
    "#);
    insta::assert_snapshot!(of("disks: [{name: stick, bus: usb, size: 1Gi}], nics: [{network: a, model: e1000}, {network: A b, mac: '03:00:00:00:00:01', addresses: [10.0.0.1]}]"), @r#"
    vial.yaml:4:42: nodes.w-1.vm.disks[0].bus: the node image's kernel has no driver for usb; `kernel` and `kernelModules` give it one that has
    vial.yaml:4:85: nodes.w-1.vm.nics[0].model: the node image's kernel has no driver for e1000; `kernel` and `kernelModules` give it one that has
    vial.yaml:4:101: nodes.w-1.vm.nics[1].network: "A b" is not the name of a network: 1 to 11 lower-case letters, digits and "-"
    vial.yaml:4:115: nodes.w-1.vm.nics[1].mac: 03:00:00:00:00:01 is an address of many (its first byte is odd)
    vial.yaml:4:153: nodes.w-1.vm.nics[1].addresses[0]: "10.0.0.1" is not an address with its prefix, as 192.168.7.3/24 is
    "#);
    insta::assert_snapshot!(of("ephemeral: true, disk: 20Gi, kernelModules: /lib/modules/x"), @r"
    vial.yaml:4:37: nodes.w-1.vm.disk: an ephemeral machine has no disk: what it writes is in its memory
    vial.yaml:4:49: nodes.w-1.vm.kernelModules: the node image's kernel has its own modules; `kernel` names the kernel that they are for
    ");
    insta::assert_snapshot!(errors("vmWorkers: 2\nnodes: {w-1: {vm: {disks: [{name: x, size: 1Gi, shared: true}]}}, w-2: {vm: {disks: [{name: x, size: 2Gi, shared: true}]}}}"), @r#"vial.yaml:4:78: nodes.w-2.vm.disks: the shared disk "x" of w-2 is another one than that of w-1"#);
    // With a kernel of one's own, drivers are one's own business.
    spec(
        "vmWorkers: 1\nnodes: {w-1: {vm: {kernel: /k, disks: [{name: stick, bus: usb, size: 1Gi}]}}}",
    );
}

#[test]
fn flags_are_for_all_machines() {
    let flags = Overrides {
        vm_workers: Some(2),
        machines: MachineEntry {
            memory: Some("1Gi".parse().unwrap()),
            ephemeral: Some(true),
            ..MachineEntry::default()
        },
        ..Overrides::default()
    };
    let spec = validate("", &flags).unwrap();
    let machines = spec.nodes.iter().filter_map(|node| node.machine.as_ref());
    let memories: Vec<_> = machines
        .map(|one| (one.memory.to_string(), one.ephemeral))
        .collect();
    assert_eq!(
        memories,
        [("1Gi".to_owned(), true), ("1Gi".to_owned(), true)]
    );
}

#[test]
fn machines_that_cannot_be() {
    insta::assert_snapshot!(errors("workers: 15\nvmWorkers: 6"), @"vial.yaml:4:1: vmWorkers: 21 workers are too many, at most 20 are possible");
    insta::assert_snapshot!(errors("workers: {count: 2, vm: {cpus: 2}}"), @"vial.yaml:3:21: workers.vm: there is no virtual machine that this could describe; `driver: vm` beside it makes one");
    insta::assert_snapshot!(errors("vmWorkers: 1\nnodes: {cp-1: {vm: {}}}"), @"vial.yaml:4:16: nodes.cp-1.vm: there is no virtual machine that this could describe; `driver: vm` beside it makes one");
    insta::assert_snapshot!(errors("workers:\n  driver: vm\n  vm: {cpus: 0, memory: 100Mi, disk: 1M, kernelArgs: ['a b'], modules: [../x], sysctls: {a..b: 1}}"), @r#"
    vial.yaml:5:8: workers.vm.cpus: a machine has 1 to 64 processors
    vial.yaml:5:17: workers.vm.memory: 100Mi is too little, a node needs 512Mi at least
    vial.yaml:5:32: workers.vm.disk: 1M is too little, a node needs 1Gi at least
    vial.yaml:5:55: workers.vm.kernelArgs[0]: "a b" is not one word
    vial.yaml:5:73: workers.vm.modules[0]: "../x" is not the name of a module
    vial.yaml:5:90: workers.vm.sysctls["a..b"]: "a..b" is not the name of a setting
    "#);
    insta::assert_snapshot!(errors("vmWorkers: 1\nnodes: {w-1: {mounts: [{hostPath: /a, nodePath: /b}]}}"), @"vial.yaml:4:15: nodes.w-1.mounts: w-1 is a virtual machine: nothing of the host can be bound into it; `files`, or `vial cp` later, bring files into any node");
}

#[test]
fn a_sandbox_is_namespaces_unless_a_machine_is_asked_for() {
    assert_eq!(spec("").sandbox.machine(), None);
    assert_eq!(
        spec("sandbox: {maker: namespace, cpus: 4}\n")
            .sandbox
            .machine(),
        None
    );
    let machine = spec("sandbox: {maker: vm, memory: 6Gi}\n").sandbox;
    let machine = machine.machine().expect("a machine");
    assert_eq!(
        (machine.cpus, machine.memory.to_string()),
        (2, "6Gi".into())
    );
    let flags = Overrides {
        sandbox: vial_spec::SandboxOverrides {
            cpus: Some(4),
            ..Default::default()
        },
        ..Overrides::default()
    };
    let spec = validate("sandbox: {maker: vm, cpus: 1}\n", &flags)
        .unwrap()
        .sandbox;
    assert_eq!(spec.machine().map(|machine| machine.cpus), Some(4));
    // A size is of nothing where there is no machine.
    let error = validate("", &flags).unwrap_err().to_string();
    assert!(error.contains("--cpus"), "{error}");
}

#[test]
fn what_a_machine_cannot_hold_is_refused() {
    for (fields, what) in [
        ("sandbox: {maker: vm, memory: 1Gi}\n", "at least"),
        ("sandbox: {maker: vm, disk: 1Gi}\n", "at least"),
        ("sandbox: {maker: vm, cpus: 0}\n", "1 to 64"),
        (
            "sandbox: {maker: vm}\nvmWorkers: 1\n",
            "machines in a machine",
        ),
        (
            "sandbox: {maker: vm}\ncontrolPlane: {mounts: [{hostPath: /a, nodePath: /b}]}\n",
            "mounts of the host",
        ),
    ] {
        let error = errors(fields);
        assert!(error.contains(what), "{fields}: {error}");
    }
}
