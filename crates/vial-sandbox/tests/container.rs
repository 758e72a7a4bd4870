//! Networks and containers in a sandbox, against the real kernel.
#![expect(clippy::unwrap_used, reason = "a test")]

mod lab;

use std::fs;
use std::os::unix::fs::MetadataExt;

use lab::{Lab, container, init_of, network};
use tonic::Code;
use vial_rpc::container_status::State;
use vial_rpc::{CgroupLimits, Clone as TreeClone, ContainerSpec, HoldContainersRequest, Mount};
use vial_rpc::{ListContainersRequest, StopContainerRequest, WatchContainersRequest};
use vial_sandbox::Network;

#[tokio::test]
async fn nodes_reach_each_other_and_a_removed_one_is_gone() {
    let lab = Lab::new().await;
    let sandbox = lab.make().await;
    let mut init = init_of(&*sandbox).await;
    init.apply_network(network(&["w-1", "w-2"])).await.unwrap();
    init.apply_network(network(&["w-1", "w-2"])).await.unwrap();
    init.start_container(container("w-1.node", "w-1"))
        .await
        .unwrap();
    init.start_container(container("w-2.node", "w-2"))
        .await
        .unwrap();
    for address in ["10.89.0.3", "fd89::3", "10.89.0.1", "fd89::1"] {
        let said = lab
            .run(
                "w-1.node",
                &format!("ip route get {address}; cat /proc/sys/net/ipv4/ip_forward"),
            )
            .await;
        assert!(
            said.contains("dev eth0") && said.trim().ends_with('1'),
            "{address}: {said}"
        );
    }
    // Real traffic, from the sandbox to a node and between nodes.
    for address in ["10.89.0.3:9", "[fd89::3]:9"] {
        let error = sandbox
            .dial(Network::Management, address.parse().unwrap())
            .await
            .unwrap_err();
        assert!(
            lab::chain(&error).contains("refused"),
            "{}",
            lab::chain(&error)
        );
    }
    let said = lab
        .run(
            "w-1.node",
            "bash -c ': </dev/tcp/10.89.0.3/9'; ip -br address show eth0; hostname",
        )
        .await;
    assert!(
        said.contains("Connection refused")
            && said.contains("fd89::2/64")
            && said.ends_with("w-1\n"),
        "{said}"
    );

    // Addresses and routes are brought to the wanted set.
    let mut changed = network(&["w-1"]);
    changed.nodes[0].addresses = vec!["10.89.0.9/24".into()];
    changed.nodes[0].routes = vec![vial_rpc::Route {
        destination: "10.7.0.0/16".into(),
        gateway: "10.89.0.1".into(),
    }];
    let stop = StopContainerRequest {
        name: "w-2.node".into(),
        grace_ms: 0,
    };
    init.stop_container(stop).await.unwrap();
    init.apply_network(changed).await.unwrap();
    let said = lab
        .run(
            "w-1.node",
            "ip -br address show eth0; ip route; ip -6 route",
        )
        .await;
    assert!(
        said.contains("10.89.0.9/24") && said.contains("10.7.0.0/16"),
        "{said}"
    );
    assert!(
        !said.contains("fd89") && !said.contains("default"),
        "{said}"
    );
    let gone = init
        .start_container(container("w-2.node", "w-2"))
        .await
        .unwrap_err();
    assert!(
        gone.message()
            .contains("enter the network namespace /run/netns/w-2"),
        "{gone}"
    );
    sandbox.end().await.unwrap();
    lab.assert_nothing_left();
}

#[tokio::test]
async fn a_container_sees_its_own_world() {
    let lab = Lab::new().await;
    // More layers than fit in a page of options, with names that options would need escapes for.
    let layers: Vec<String> = (0..60)
        .map(|n| format!("layer-{n},a:b-{}", "x".repeat(80)))
        .collect();
    for layer in &layers {
        fs::create_dir_all(lab.spec.images_dir.join(layer).join("etc")).unwrap();
        fs::write(lab.spec.images_dir.join(layer).join("etc/top"), &layer[..8]).unwrap();
    }
    let sandbox = lab.make().await;
    let mut init = init_of(&*sandbox).await;
    init.apply_network(network(&["w-1"])).await.unwrap();
    let mut spec = container("w-1.node", "w-1");
    let layers = layers.iter().map(|layer| format!("/vial/images/{layer}"));
    spec.lower = layers.chain(spec.lower).collect();
    spec.limits = Some(CgroupLimits {
        memory_bytes: 512 << 20,
        cpu_millis: 1500,
        pids: 500,
        cpu_weight: 0,
    });
    spec.mounts.push(Mount {
        target: "/var/scratch".into(),
        kind: 1,
        ..Mount::default()
    });
    spec.mounts.push(Mount {
        source: "/vial/cluster".into(),
        target: "/var/ro".into(),
        read_only: true,
        kind: 0,
    });
    init.start_container(spec).await.unwrap();
    let run = async |script: &str| lab.run("w-1.node", script).await;

    assert_eq!(run("cat /etc/top").await, "layer-0,");
    assert_eq!(
        run("cat /etc/layer; echo changed > /etc/layer; cat /etc/layer").await,
        "basechanged\n"
    );
    assert_eq!(
        fs::read_to_string(lab.spec.images_dir.join("base/etc/layer")).unwrap(),
        "base"
    );
    assert_eq!(
        run("touch /var/ro/x").await,
        "touch: cannot touch '/var/ro/x': Read-only file system\n"
    );
    assert_eq!(run("stat -f -c %T /var/scratch").await, "tmpfs\n");
    assert_eq!(run("cat /proc/1/comm").await, "vial-agent\n");
    // What the kubelet wants to be set is set, and what it writes stays here.
    let host = fs::read_to_string("/proc/sys/vm/overcommit_memory").unwrap();
    assert_eq!(run("cd /proc/sys; cat vm/overcommit_memory kernel/panic; echo 2 > vm/overcommit_memory; cat vm/overcommit_memory").await, "1\n10\n2\n");
    assert_eq!(
        fs::read_to_string("/proc/sys/vm/overcommit_memory").unwrap(),
        host
    );
    for path in [
        "/proc/sys/vm/swappiness",
        "/proc/irq/default_smp_affinity",
        "/sys/x",
        "/sys/fs/cgroup/x",
    ] {
        let said = run(&format!("touch {path}")).await;
        let refused = said.contains("Read-only") || said.contains("Permission denied");
        assert!(refused, "{path}: {said}");
    }
    assert_eq!(run("echo 1 > /proc/sys/net/ipv4/conf/eth0/proxy_arp; cat /proc/sys/net/ipv4/conf/eth0/proxy_arp").await, "1\n");
    // Its cgroup is the root of what it sees, and it may make more below.
    let groups = run("cat /proc/self/cgroup").await;
    assert!(
        groups
            .lines()
            .all(|line| line.ends_with(":/") || line.ends_with(":/agent")),
        "{groups}"
    );
    let limits = run(
        "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null",
    )
    .await;
    // A machine with version 2 shows none of these files.
    assert!(
        ["500\n536870912\n", ""].contains(&limits.as_str()),
        "{limits}"
    );
    // With version 2 alone, the groups below have every controller that this one has.
    let delegated = run(
        "cd /sys/fs/cgroup; [ ! -e cgroup.controllers ] || diff cgroup.controllers cgroup.subtree_control",
    );
    assert_eq!(delegated.await, "");
    assert_eq!(
        run("for d in /sys/fs/cgroup/*/; do mkdir $d/pod && rmdir $d/pod; done").await,
        ""
    );
    // Nothing of the sandbox or the host but what was asked for.
    let mounts = run("cat /proc/self/mountinfo").await;
    assert!(
        !mounts.contains("/vial/images") && !mounts.contains("netns"),
        "{mounts}"
    );
    assert!(
        mounts.lines().all(|line| line.contains(" shared:")),
        "{mounts}"
    );
    assert_eq!(
        run("ls /dev/pts/ptmx /dev/null /dev/shm -d; script -qc true /dev/null; echo $?").await,
        "/dev/null\n/dev/pts/ptmx\n/dev/shm\n0\n"
    );
    // Besides sockets and pipes, the agent holds nothing open but what it was given.
    let open = run("readlink /proc/1/fd/* | grep -v -e ^socket: -e ^pipe: | sort -u").await;
    assert_eq!(open, "/dev/null\n/run/vial/agent.log\n");
    sandbox.end().await.unwrap();
    lab.assert_nothing_left();
}

#[tokio::test]
async fn starts_once_stops_and_starts_again() {
    let lab = Lab::new().await;
    let sandbox = lab.make().await;
    let mut init = init_of(&*sandbox).await;
    init.apply_network(network(&["cp-1"])).await.unwrap();
    let mut events = init
        .watch_containers(WatchContainersRequest {})
        .await
        .unwrap()
        .into_inner();
    let first = init
        .start_container(container("cp-1.node", "cp-1"))
        .await
        .unwrap()
        .into_inner();
    let again = init
        .start_container(container("cp-1.node", "cp-1"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(first, again);
    let other = ContainerSpec {
        env: [("A".to_owned(), "b".to_owned())].into(),
        ..container("cp-1.node", "cp-1")
    };
    assert_eq!(
        init.start_container(other).await.unwrap_err().code(),
        Code::AlreadyExists
    );
    // A second container of the node shares its network.
    init.start_container(container("cp-1.control-plane", "cp-1"))
        .await
        .unwrap();
    let read = async |name: &str| lab.run(name, "readlink /proc/self/ns/net").await;
    assert_eq!(read("cp-1.node").await, read("cp-1.control-plane").await);

    let stop = |name: &str| StopContainerRequest {
        name: name.into(),
        grace_ms: 0,
    };
    init.stop_container(stop("cp-1.node")).await.unwrap();
    init.stop_container(stop("cp-1.node")).await.unwrap();
    let left = init
        .list_containers(ListContainersRequest {})
        .await
        .unwrap()
        .into_inner()
        .containers;
    assert_eq!(
        left.iter()
            .map(|status| status.name.as_str())
            .collect::<Vec<_>>(),
        ["cp-1.control-plane"]
    );
    assert_eq!(
        init.start_container(container("cp-1.node", "cp-1"))
            .await
            .unwrap()
            .into_inner()
            .state(),
        State::Running
    );
    lab.run("cp-1.control-plane", "true").await;
    lab.run("cp-1.control-plane", "end 7").await;

    let mut seen = Vec::new();
    while seen.len() < 5 {
        let event = events.message().await.unwrap().unwrap();
        seen.push((event.name.clone(), event.state(), event.exit_code));
    }
    let event = |name: &str, state, code| (name.to_owned(), state, code);
    assert_eq!(
        seen,
        [
            event("cp-1.node", State::Running, 0),
            event("cp-1.control-plane", State::Running, 0),
            event("cp-1.node", State::Ended, 137),
            event("cp-1.node", State::Running, 0),
            event("cp-1.control-plane", State::Ended, 7),
        ]
    );
    sandbox.end().await.unwrap();
    lab.assert_nothing_left();
}

#[tokio::test]
async fn a_failed_start_says_why_and_leaves_nothing() {
    let lab = Lab::new().await;
    let sandbox = lab.make().await;
    let mut init = init_of(&*sandbox).await;
    init.apply_network(network(&["w-1"])).await.unwrap();
    let good = container("w-1.node", "w-1");
    let mut cases = vec![
        (
            ContainerSpec {
                lower: vec!["/vial/images/none".into()],
                ..good.clone()
            },
            "find the layer /vial/images/none: No such file",
        ),
        (
            ContainerSpec {
                env: [("FAIL".to_owned(), "1".to_owned())].into(),
                ..good.clone()
            },
            "ended before it was ready: told to fail",
        ),
        (
            ContainerSpec {
                node: "w-9".into(),
                ..good.clone()
            },
            "/run/netns/w-9: No such file",
        ),
    ];
    let mut missing = good.clone();
    missing.mounts.push(Mount {
        source: "/vial/mounts/9".into(),
        target: "/x".into(),
        ..Mount::default()
    });
    cases.push((missing, "take the mount tree /vial/mounts/9: No such file"));
    for (spec, expected) in cases {
        let error = init.start_container(spec).await.unwrap_err();
        assert!(
            error.message().contains(expected),
            "{:?} lacks {expected:?}",
            error.message()
        );
        let groups = fs::read_dir("/sys/fs/cgroup").unwrap().flatten();
        for group in groups.map(|group| {
            group
                .path()
                .join("vial")
                .join(&lab.spec.name)
                .join("w-1.node")
        }) {
            assert!(!group.exists(), "{}", group.display());
        }
    }
    assert!(
        init.list_containers(ListContainersRequest {})
            .await
            .unwrap()
            .into_inner()
            .containers
            .is_empty()
    );
    init.start_container(good).await.unwrap();
    sandbox.end().await.unwrap();
    lab.assert_nothing_left();
}

#[tokio::test]
async fn trees_are_cloned_once_before_the_mounts() {
    let lab = Lab::new().await;
    let source = lab.spec.cluster_dir.join("baked");
    fs::create_dir_all(source.join("db")).unwrap();
    fs::write(source.join("blob"), "blob").unwrap();
    fs::write(source.join("db/meta.db"), "meta").unwrap();
    let sandbox = lab.make().await;
    let mut init = init_of(&*sandbox).await;
    init.apply_network(network(&["w-1"])).await.unwrap();
    let mut spec = container("w-1.node", "w-1");
    spec.clones.push(TreeClone {
        source: "/vial/cluster/baked".into(),
        target: "/vial/cluster/w-1/containerd".into(),
        copy: vec!["meta.db".into()],
        ..TreeClone::default()
    });
    spec.mounts.push(Mount {
        source: "/vial/cluster/w-1/containerd".into(),
        target: "/var/lib/containerd".into(),
        ..Mount::default()
    });
    init.start_container(spec).await.unwrap();
    assert_eq!(
        lab.run(
            "w-1.node",
            "cat /var/lib/containerd/blob; echo new > /var/lib/containerd/db/meta.db"
        )
        .await,
        "blob"
    );
    assert_eq!(
        fs::read_to_string(source.join("db/meta.db")).unwrap(),
        "meta"
    );
    assert_eq!(source.join("blob").metadata().unwrap().nlink(), 2);
    sandbox.end().await.unwrap();
    lab.assert_nothing_left();
}

#[tokio::test]
async fn held_containers_do_nothing_as_long_as_somebody_listens() {
    let lab = Lab::new().await;
    let sandbox = lab.make().await;
    let mut init = init_of(&*sandbox).await;
    init.apply_network(network(&["w-1"])).await.unwrap();
    let start = || container("w-1.node", "w-1");
    init.start_container(start()).await.unwrap();
    let hold = async |name: &str| {
        let names = vec![name.to_owned()];
        let mut init = init_of(&*sandbox).await;
        let held = init
            .hold_containers(HoldContainersRequest { names })
            .await?;
        let mut held = held.into_inner();
        held.message().await?.expect("one message");
        Ok::<_, vial_rpc::Status>(held)
    };
    let held = hold("w-1.node").await.unwrap();
    let mut answer = std::pin::pin!(lab.run("w-1.node", "echo alive"));
    let soon = tokio::time::timeout(std::time::Duration::from_millis(100), &mut answer);
    assert!(soon.await.is_err(), "its agent is held as well");
    drop(held);
    assert_eq!(answer.await, "alive\n");

    // Who is held can be ended all the same, alone and with the sandbox.
    let held = hold("w-1.node").await.unwrap();
    let stop = StopContainerRequest {
        name: "w-1.node".into(),
        grace_ms: 0,
    };
    init.stop_container(stop).await.unwrap();
    drop(held);
    let refused = hold("w-1.node").await.unwrap_err();
    assert!(refused.message().contains("w-1.node"), "{refused}");
    assert_eq!(
        hold("../x").await.unwrap_err().code(),
        Code::InvalidArgument
    );
    init.start_container(start()).await.unwrap();
    let _held = hold("w-1.node").await.unwrap();
    sandbox.end().await.unwrap();
    lab.assert_nothing_left();
}
