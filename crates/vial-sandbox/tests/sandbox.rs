//! Sandboxes against the real kernel: made, found, ended, sealed.
#![expect(clippy::unwrap_used, reason = "a test")]

mod lab;

use std::fs::File;
use std::io::{Read as _, Write as _};

use lab::{Lab, chain, container, init_of, network};
use vial_rpc::InfoRequest;
use vial_sandbox::{Connection, Maker, NamespaceMaker, Network};

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
        assert_eq!(local(&dialled.unwrap()), accepted.unwrap().1);
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

/// Who has the machine's tap interface open gets what the network says to the machine, and is heard by it.
#[tokio::test]
async fn frames_for_a_machine_come_to_its_tap_interface() {
    let lab = Lab::new().await;
    let sandbox = lab.make().await;
    let mut init = init_of(&*sandbox).await;
    let mut spec = network(&["w-1", "w-2"]);
    spec.nodes[1].machine_user = 65_534;
    // Twice: what is there is kept.
    init.apply_network(spec.clone()).await.unwrap();
    init.apply_network(spec).await.unwrap();

    let namespace = format!("/proc/{}/root/run/netns/w-2", sandbox.pid());
    let (heard, hearing) = tokio::sync::oneshot::channel();
    let machine = std::thread::spawn(move || {
        vial_sys::namespace::enter_network_at(namespace.as_ref()).unwrap();
        let mut tap = vial_sys::tap::make("tap0", 65_534).unwrap();
        let question = frame_for_the_machine(&mut tap, ARP);
        let answer = [&[0; HEADER], &arp_answer(&question)[..]].concat();
        tap.write_all(&answer).unwrap();
        heard.send(frame_for_the_machine(&mut tap, IPV4)).unwrap();
    });
    let dialling = sandbox.dial(Network::Node("w-1"), "10.89.0.3:7000".parse().unwrap());
    let packet = tokio::select! {
        dialled = dialling => panic!("nobody listens there: {:?}", dialled.map_err(|error| chain(&error))),
        packet = hearing => packet.unwrap(),
    };
    assert_eq!(packet[..6], MACHINE, "to whom the answer said");
    assert_eq!(packet[26..30], [10, 89, 0, 2], "from whom");
    machine.join().unwrap();
    sandbox.end().await.unwrap();
    lab.assert_nothing_left();
}

/// Bytes of virtio's header before a frame.
const HEADER: usize = 10;
const MACHINE: [u8; 6] = [2, 0, 0, 0, 0, 3];
/// What a frame holds (EtherType), and where in it the address is that it is for.
const ARP: ([u8; 2], usize) = ([8, 6], 38);
const IPV4: ([u8; 2], usize) = ([8, 0], 30);

/// The next frame of that kind for 10.89.0.3.
fn frame_for_the_machine(tap: &mut File, (kind, place): ([u8; 2], usize)) -> Vec<u8> {
    loop {
        let mut bytes = [0; 2048];
        let length = tap.read(&mut bytes).unwrap();
        let frame = &bytes[HEADER..length];
        if frame[12..14] == kind && frame[place..place + 4] == [10, 89, 0, 3] {
            return frame.to_vec();
        }
    }
}

/// To who asks for 10.89.0.3: that it is at [`MACHINE`] (RFC 826).
fn arp_answer(question: &[u8]) -> Vec<u8> {
    let mut answer = question[..42].to_vec();
    answer[..6].copy_from_slice(&question[6..12]);
    answer[6..12].copy_from_slice(&MACHINE);
    answer[21] = 2;
    answer[22..28].copy_from_slice(&MACHINE);
    answer[28..32].copy_from_slice(&question[38..42]);
    answer[32..42].copy_from_slice(&question[22..32]);
    answer
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
    assert_eq!(local(&dialled.unwrap()), accepted.unwrap().1);
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

/// Which address a connection has on this side.
fn local(connection: &Connection) -> std::net::SocketAddr {
    match connection {
        Connection::Tcp(stream) => stream.local_addr().unwrap(),
        Connection::Link(_) => panic!("a sandbox of namespaces has sockets"),
    }
}
