//! The planner: whole plans compared with what was reviewed, and what a change of the file changes.

use vial_engine::plan::{
    Change, ComponentPlan, Facts, ImageFacts, MachineFacts, Plan, changes, plan,
};
use vial_spec::{Overrides, file::File};

fn planned(yaml: &str) -> Plan {
    let file = File::parse(
        &format!("apiVersion: vial/v1\nkind: Cluster\n{yaml}"),
        "vial.yaml",
    )
    .expect("valid YAML");
    let nothing = |path: &std::path::Path| Err(std::io::Error::other(path.display().to_string()));
    let spec = file
        .validate(&Overrides::default(), &nothing)
        .expect("a valid file");
    let image = ImageFacts {
        kubernetes: "v1.36.3".into(),
        lower: vec![
            "/vial/images/unpacked/b".into(),
            "/vial/images/unpacked/a".into(),
        ],
        containerd_root: "/vial/images/unpacked/c/usr/lib/vial/containerd".into(),
        shown: None,
    };
    plan(
        &spec,
        &Facts {
            image,
            api_port: 40_000,
            registry_port: 40_001,
            machine: MachineFacts {
                command_line: "quiet panic=-1".into(),
                accelerator: "tcg,thread=multi".into(),
                containerd_root: "/usr/lib/vial/containerd".into(),
            },
        },
    )
}

#[test]
fn one_control_plane_and_one_worker() {
    insta::assert_debug_snapshot!(planned("workers: 1\n"));
}

#[test]
fn a_worker_that_is_a_machine() {
    let plan = planned(
        "vmWorkers: 1\nnodes: {w-1: {vm: {cpus: 4, memory: 1Gi, modules: [ip_vs], kernelArgs: [nokaslr], qemuArgs: [-snapshot]}}}\n",
    );
    let worker = plan.node("w-1").expect("planned");
    let [machine, guest] = worker.containers.as_slice() else {
        panic!("two containers");
    };
    assert_eq!(guest.spec.name, "w-1.node");
    insta::assert_debug_snapshot!((machine, &guest.guest));
    // What runs in the guest is what runs in a container.
    let container = planned("workers: 1\n");
    let container = &container.node("w-1").expect("planned").containers[0];
    assert_eq!(guest.components, container.components);
    assert_eq!(guest.files, container.files);
}

#[test]
fn the_shape_of_a_machine_is_hardware_of_qemu_and_interfaces_of_its_node() {
    let plan = planned(
        "vmWorkers: 1
nodes:
  w-1:
    mounts: []
    vm:
      ephemeral: true
      display: true
      swap: 256Mi
      numa: [{cpus: 2, memory: 1Gi, distances: [10, 30]}, {cpus: 1, memory: 512Mi, distances: [30, 10]}]
      hugePages: {2Mi: 64Mi}
      disks:
        - {name: fast, bus: nvme, size: 1Gi}
        - {name: both, bus: scsi, size: 1Gi, shared: true}
        - {name: brought, file: /srv/x.qcow2, readOnly: true}
      nics: [{network: storage, model: vmxnet3}, {network: mgmt}]
      kernel: /boot/own
      kernelModules: /lib/modules/own
",
    );
    let worker = plan.node("w-1").expect("planned");
    let [machine, guest] = worker.containers.as_slice() else {
        panic!("two containers");
    };
    insta::assert_snapshot!(machine.components[0].spec.argv.join("\n"));
    let told = guest.guest.as_ref().expect("a guest");
    assert_eq!(told.modules, ["virtio_scsi", "nvme", "sd_mod", "vmxnet3"]);
    assert_eq!(told.disks, ["fast", "both", "brought"]);
    assert!(told.swap && told.own_modules);
    let names: Vec<_> = told
        .interfaces
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(names, ["eth0", "eth1", "eth2"]);
    let link = plan.network.nodes.iter().find(|link| link.node == "w-1");
    let taps = link.expect("a link").taps.iter();
    let taps: Vec<_> = taps
        .map(|tap| (tap.name.as_str(), tap.bridge.as_str()))
        .collect();
    assert_eq!(taps, [("tap1", "net-storage"), ("tap2", "mgmt")]);
    // The file of the host comes by a mount.
    let file = machine.spec.mounts.last().expect("a mount");
    assert_eq!(file.target, "/var/lib/machine-files/brought");
    assert!(file.read_only);
}

/// Of the disk that a machine writes to.
#[test]
fn a_flush_is_one_unless_it_shall_not() {
    for (vm, flushes) in [("{}", true), ("{diskCache: unsafe}", false)] {
        let plan = planned(&format!("vmWorkers: 1\nnodes: {{w-1: {{vm: {vm}}}}}\n"));
        let worker = plan.node("w-1").expect("planned");
        let mut argv = worker.containers[0].components[0].spec.argv.iter();
        let data = argv.find(|word| word.contains("node-name=data,"));
        let data = data.expect("its disk");
        assert_eq!(!data.contains("cache.no-flush=on"), flushes, "{data}");
    }
}

#[test]
fn the_one_agent_of_a_machine_runs_the_control_plane_too() {
    let plan = planned("workers: 0\ncontrolPlane: {driver: vm}\n");
    let [machine, guest] = plan.nodes[0].containers.as_slice() else {
        panic!("two containers");
    };
    assert_eq!(machine.spec.name, "cp-1.machine");
    assert_eq!(guest.spec.name, "cp-1.node");
    let names = |components: &[ComponentPlan]| -> Vec<String> {
        let names = components.iter().map(|one| one.spec.name.clone());
        names.collect()
    };
    // The same as in two containers, and its store on its own disk.
    let apart = planned("workers: 0\n");
    let mut expected = names(&apart.nodes[0].containers[1].components);
    expected.extend(names(&apart.nodes[0].containers[0].components));
    assert_eq!(names(&guest.components), expected);
    let mounts = &guest.guest.as_ref().expect("a guest").mounts;
    let store = mounts.iter().find(|one| one.target.ends_with("etcd"));
    let source = store.map(|one| one.source.to_string_lossy().into_owned());
    assert_eq!(source.as_deref(), Some("control-plane/etcd"));
    let mut paths: Vec<_> = guest.files.iter().map(|file| &file.path).collect();
    paths.sort();
    let all = paths.len();
    paths.dedup();
    assert_eq!(paths.len(), all);
}

#[test]
fn ipv6_only_has_no_ipv4_address_of_the_cluster() {
    let plan = planned("ipFamily: ipv6\nworkers: 1\n");
    let text = format!("{plan:?}");
    assert!(
        !text.contains("10.89.0.") && !text.contains("10.96.") && !text.contains("10.244."),
        "{text}"
    );
    insta::assert_debug_snapshot!(plan.network);
}

#[test]
fn the_same_input_gives_the_same_plan() {
    assert_eq!(planned("workers: 3\n"), planned("workers: 3\n"));
}

#[test]
fn without_a_cni_no_pod_routes_and_no_cni_file() {
    let plan = planned("network: {cni: none}\nworkers: 1\n");
    assert!(plan.network.nodes.iter().all(|link| {
        link.routes
            .iter()
            .all(|route| !route.destination.starts_with("10.244."))
    }));
    let files = plan
        .nodes
        .iter()
        .flat_map(|node| &node.containers)
        .flat_map(|container| &container.files);
    assert_eq!(
        files
            .filter(|file| file.path.starts_with("/etc/cni"))
            .count(),
        0
    );
}

#[test]
fn a_flag_of_one_component_restarts_only_that_component() {
    let before = planned("workers: 2\n");
    let after = planned("workers: 2\ncomponents: {kube-scheduler: {args: {v: \"4\"}}}\n");
    let expected = [Change::Component {
        node: "cp-1".into(),
        component: "kube-scheduler".into(),
    }];
    assert_eq!(changes(&before, &after).expect("possible"), expected);
}

#[test]
fn flags_and_variables_of_the_clusters_dns_stand_in_its_deployment() {
    let plan = planned(
        "components: {coredns: {args: {dns.port: 1053, conf: null}, env: {GOGC: 50}}}\nworkers: 1\n",
    );
    let text = plan.bootstrap;
    assert!(text.contains(r#"args: ["-dns.port=1053"]"#), "{text}");
    assert!(
        text.contains(r#"env: [{"name":"GOGC","value":"50"}]"#),
        "{text}"
    );
}

#[test]
fn a_kubelet_that_cannot_remember_pulls_is_not_told_how_to() {
    let set = |plan: Plan| format!("{plan:?}").contains("imagePullCredentialsVerificationPolicy");
    assert!(set(planned("workers: 1\n")));
    let off = "featureGates: {KubeletEnsureSecretPulledImages: false}\nworkers: 1\n";
    assert!(!set(planned(off)));
}

#[test]
fn a_kubelet_setting_of_one_node_restarts_that_kubelet() {
    let before = planned("workers: 2\n");
    let after =
        planned("workers: 2\nnodes: {w-2: {components: {kubelet: {config: {maxPods: 20}}}}}\n");
    let expected = [Change::Component {
        node: "w-2".into(),
        component: "kubelet".into(),
    }];
    assert_eq!(changes(&before, &after).expect("possible"), expected);
}

#[test]
fn more_and_fewer_workers_restart_nothing() {
    let two = planned("workers: 2\n");
    let three = planned("workers: 3\n");
    assert_eq!(
        changes(&two, &three).expect("possible"),
        [Change::AddNode("w-3".into())]
    );
    assert_eq!(
        changes(&three, &two).expect("possible"),
        [Change::RemoveNode("w-3".into())]
    );
    assert_eq!(changes(&two, &two).expect("possible"), []);
}

#[test]
fn labels_change_the_node_object_only() {
    let before = planned("workers: 1\n");
    let after = planned("workers: {count: 1, labels: {zone: a}}\n");
    assert_eq!(
        changes(&before, &after).expect("possible"),
        [Change::NodeObject("w-1".into())]
    );
}

#[test]
fn addresses_image_and_mounts_cannot_be_changed() {
    let before = planned("workers: 1\n");
    for (yaml, named) in [
        ("workers: 1\nipFamily: ipv4\n", "network"),
        ("workers: 1\nkubernetes: v1.35.4\n", "node image"),
        (
            "workers: {count: 1, mounts: [{hostPath: /srv, nodePath: /srv}]}\n",
            "mounts of node w-1",
        ),
    ] {
        let error = changes(&before, &planned(yaml)).expect_err("refused");
        assert!(error.to_string().contains(named), "{error}");
        assert!(error.hint().is_some());
    }
}

#[test]
fn a_plan_holds_no_key() {
    let text = format!("{:?}", planned("workers: 1\n"));
    assert!(
        !text.contains("BEGIN"),
        "a plan names keys, it does not hold them"
    );
}
