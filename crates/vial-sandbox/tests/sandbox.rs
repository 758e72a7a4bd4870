//! Sandboxes against the real kernel: made, found, ended, sealed.
#![expect(clippy::unwrap_used, reason = "a test")]

mod lab;

use lab::{Lab, chain, container, init_of, network};
use vial_rpc::InfoRequest;
use vial_sandbox::{Maker, NamespaceMaker, Network};

#[tokio::test]
async fn is_made_without_a_trace_and_ends_without_one() {
    let lab = Lab::new().await;
    let sandbox = lab.make().await;
    lab.assert_host_unchanged();
    let info = init_of(&*sandbox)
        .await
        .info(InfoRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(info.version, env!("CARGO_PKG_VERSION"));
    sandbox.end().await.unwrap();
    sandbox.ended().await;
    lab.assert_nothing_left();
    sandbox.end().await.unwrap();
}

#[tokio::test]
async fn a_second_make_of_a_living_one_is_refused() {
    let lab = Lab::new().await;
    let sandbox = lab.make().await;
    let error = NamespaceMaker.make(&lab.spec).await.err().unwrap();
    assert!(
        chain(&error).contains("it runs already"),
        "{}",
        chain(&error)
    );
    let error = NamespaceMaker.sweep(&lab.spec).await.unwrap_err();
    assert!(chain(&error).contains("it is alive"), "{}", chain(&error));
    sandbox.end().await.unwrap();
    lab.make().await.end().await.unwrap();
    lab.assert_nothing_left();
}

#[tokio::test]
async fn is_found_by_whoever_comes_later() {
    let lab = Lab::new().await;
    assert!(lab.find().await.is_none());
    let pid = {
        let sandbox = lab.make().await;
        sandbox.pid()
        // Dropped: the keeper died.
    };
    let found = lab.find().await.unwrap();
    assert_eq!(found.pid(), pid);
    init_of(&*found).await.info(InfoRequest {}).await.unwrap();
    found.end().await.unwrap();
    assert!(lab.find().await.is_none());
    lab.assert_nothing_left();
}

#[tokio::test]
async fn a_killed_first_process_takes_everything_with_it() {
    let lab = Lab::new().await;
    let sandbox = lab.make().await;
    let mut init = init_of(&*sandbox).await;
    init.apply_network(network(&["w-1"])).await.unwrap();
    init.start_container(container("w-1.node", "w-1"))
        .await
        .unwrap();
    lab.run("w-1.node", "sleep 1000 >/dev/null 2>&1 & setsid sleep 1000 >/dev/null 2>&1 & mkdir /sys/fs/cgroup/*/pod").await;
    let killed = std::process::Command::new("kill")
        .args(["-9", &sandbox.pid().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    sandbox.ended().await;
    assert!(lab.find().await.is_none());
    NamespaceMaker.sweep(&lab.spec).await.unwrap();
    lab.assert_nothing_left();
}

#[tokio::test]
async fn a_failed_make_says_why_and_leaves_nothing() {
    let mut lab = Lab::new().await;
    lab.spec.mounts.push(("/nonexistent".into(), true));
    let error = NamespaceMaker.make(&lab.spec).await.err().unwrap();
    assert!(
        chain(&error).contains("take the mount tree /nonexistent: No such file"),
        "{}",
        chain(&error)
    );
    lab.assert_nothing_left();
    lab.spec.program = "/nonexistent".into();
    assert!(NamespaceMaker.make(&lab.spec).await.is_err());
    lab.assert_nothing_left();
}

#[tokio::test]
async fn two_with_equal_addresses_do_not_reach_each_other() {
    let lab = Lab::new().await;
    let other_spec = lab.another();
    let (one, two) = (
        lab.make().await,
        NamespaceMaker.make(&other_spec).await.unwrap(),
    );
    for sandbox in [&one, &two] {
        init_of(&**sandbox)
            .await
            .apply_network(network(&["w-1"]))
            .await
            .unwrap();
    }
    for address in ["10.89.0.1:7000", "[fd89::1]:7000"] {
        let address = address.parse().unwrap();
        let listener = one.listen(Network::Management, address).await.unwrap();
        let (dialled, accepted) =
            tokio::join!(one.dial(Network::Management, address), listener.accept());
        assert_eq!(dialled.unwrap().local_addr().unwrap(), accepted.unwrap().1);
        let error = two.dial(Network::Management, address).await.unwrap_err();
        assert!(chain(&error).contains("refused"), "{}", chain(&error));
        // The same address is free in the other one.
        two.listen(Network::Management, address).await.unwrap();
    }
    let udp = [
        one.bind_udp(Network::Management, "10.89.0.1:53".parse().unwrap())
            .await,
        one.bind_udp(Network::Management, "[fd89::1]:53".parse().unwrap())
            .await,
    ];
    assert!(udp.iter().all(Result::is_ok));
    drop(udp);
    two.end().await.unwrap();
    one.end().await.unwrap();
    lab.assert_nothing_left();
}

#[tokio::test]
async fn a_dead_one_cannot_be_dialled() {
    let lab = Lab::new().await;
    let sandbox = lab.make().await;
    sandbox.end().await.unwrap();
    assert!(
        sandbox
            .dial(Network::Management, "127.0.0.1:1".parse().unwrap())
            .await
            .is_err()
    );
    assert!(sandbox.init().await.is_err());
    lab.assert_nothing_left();
}

#[tokio::test]
async fn each_node_has_loopback_addresses_of_its_own() {
    let lab = Lab::new().await;
    let sandbox = lab.make().await;
    let mut init = init_of(&*sandbox).await;
    init.apply_network(network(&["w-1", "w-2"])).await.unwrap();
    let address = "127.0.0.1:7000".parse().unwrap();
    let (one, two) = (Network::Node("w-1"), Network::Node("w-2"));
    let listener = sandbox.listen(one, address).await.unwrap();
    let (dialled, accepted) = tokio::join!(sandbox.dial(one, address), listener.accept());
    assert_eq!(dialled.unwrap().local_addr().unwrap(), accepted.unwrap().1);
    for elsewhere in [two, Network::Management] {
        let error = sandbox.dial(elsewhere, address).await.unwrap_err();
        assert!(chain(&error).contains("refused"), "{}", chain(&error));
        sandbox.listen(elsewhere, address).await.unwrap();
    }
    for unknown in ["w-3", "..", "", "w-1/../w-1"] {
        let error = sandbox.dial(Network::Node(unknown), address).await;
        assert!(error.is_err(), "{unknown:?}");
    }
    // A node that goes takes its network along: no socket is made in one that is left over.
    drop(listener);
    init.apply_network(network(&["w-2"])).await.unwrap();
    let error = sandbox.dial(one, address).await.unwrap_err();
    assert!(chain(&error).contains("No such file"), "{}", chain(&error));
    sandbox.end().await.unwrap();
    assert!(sandbox.dial(two, address).await.is_err());
    lab.assert_nothing_left();
}
