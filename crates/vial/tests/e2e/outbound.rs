//! The way out: what nodes and pods reach of the world, what they do not, and what heals.

use crate::lab::{Host, Lab, eventually, kill};
use crate::world::{HOST_V4, HOST_V6, NAME, PORT, V4, V6, World};

const POD: &str = "apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: vial/toolbox, imagePullPolicy: IfNotPresent, command: [sleep, infinity]}]
";

/// What a web server says to a client in the cluster.
fn fetch(lab: &Lab, cluster: &str, client: Client, args: &[&str]) -> Result<String, String> {
    let curl = [&["curl", "-sS", "-m", "10"], args].concat();
    let ran = match client {
        Client::Node(name) => lab.exec(cluster, name, &curl),
        Client::Pod => lab.kubectl(cluster, &[&["exec", "client", "--"], &curl[..]].concat()),
    };
    if ran.code == 0 {
        Ok(ran.stdout)
    } else {
        Err(ran.stderr)
    }
}

#[derive(Debug, Clone, Copy)]
enum Client {
    Node(&'static str),
    Pod,
}

const CLIENTS: [Client; 3] = [Client::Node("cp-1"), Client::Node("w-1"), Client::Pod];

/// What everybody in the cluster fetches of the world, by address and by name; the world sees the host ask.
fn urls() -> [(&'static str, String, &'static str); 4] {
    [
        ("-4", format!("http://{V4}:{PORT}/"), HOST_V4),
        ("-6", format!("http://[{V6}]:{PORT}/"), HOST_V6),
        ("-4", named(), HOST_V4),
        ("-6", named(), HOST_V6),
    ]
}

fn named() -> String {
    format!("http://{NAME}:{PORT}/")
}

#[track_caller]
fn reaches_the_world(lab: &Lab, cluster: &str) {
    for client in CLIENTS {
        for (family, url, asks) in urls() {
            eventually(&format!("{client:?} fetches {url} {family}"), || {
                let answer = fetch(lab, cluster, client, &[family, &url])?;
                (answer == format!("hello {asks}"))
                    .then_some(())
                    .ok_or(answer)
            });
        }
    }
}

#[track_caller]
fn reaches_nothing(lab: &Lab, cluster: &str) {
    for client in CLIENTS {
        for (family, url, _) in urls() {
            let answer = fetch(lab, cluster, client, &[family, &url]);
            assert!(answer.is_err(), "{client:?} got {answer:?} from {url}");
        }
    }
}

/// The process on the host that carries the connections of a cluster.
fn carrier(lab: &Lab, cluster: &str) -> Option<u32> {
    let pid_file = lab.run_dir().join(cluster).join("outside.pid");
    let pid_file = pid_file.to_string_lossy();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split('\0').any(|word| word == pid_file)
    })
}

#[test]
fn nodes_and_pods_reach_what_the_host_reaches_and_nothing_of_the_host_is_changed() {
    let mut world = World::apart();
    world.connect();
    let before = world.look();
    let lab = Lab::new(&["outward"]).on(&world);
    lab.vial(["up", "outward", "--workers", "1"]).ok();
    lab.apply("outward", POD);
    lab.await_pod("outward", "client");
    reaches_the_world(&lab, "outward");
    assert_eq!(world.look(), before);
    assert_eq!(world.listeners(), Vec::<String>::new());

    // The host itself is reached at its own addresses, as by any machine; its loopback addresses are not.
    let open = world.serve_on_host(HOST_V4);
    let own = format!("http://{HOST_V4}:{open}/");
    fetch(&lab, "outward", Client::Pod, &[&own]).expect("an answer");
    let shut = [world.serve_on_host("127.0.0.1"), world.serve_on_host("::1")];
    for (host, port) in [
        ("10.89.129.1", shut[0]),
        ("10.89.129.2", shut[0]),
        ("10.89.0.1", shut[0]),
        ("169.254.1.1", shut[0]),
        ("[fd89:0:0:129::1]", shut[1]),
        ("[fd89::1]", shut[1]),
        ("[::ffff:127.0.0.1]", shut[0]),
    ] {
        let url = format!("http://{host}:{port}/");
        let answer = fetch(&lab, "outward", Client::Node("w-1"), &[&url]);
        assert!(answer.is_err(), "{url}: {answer:?}");
    }

    // What carries is killed: it comes back.
    let first = carrier(&lab, "outward").expect("it runs");
    kill(&first.into());
    reaches_the_world(&lab, "outward");
    let second = carrier(&lab, "outward").expect("it runs again");
    assert_ne!(first, second);

    // The keeper is killed: nobody notices, and the next one takes it over.
    kill(&lab.status("outward")["keeperPid"]);
    eventually("a pod reaches the world", || {
        fetch(&lab, "outward", Client::Pod, &[&named()])
    });
    assert_eq!(carrier(&lab, "outward"), Some(second));

    // Sealed while it lives, over another keeper, and opened again.
    lab.vial(["up", "outward", "--outbound", "none"]).ok();
    eventually("the way is closed", || {
        carrier(&lab, "outward").map_or(Ok(()), |pid| Err(pid.to_string()))
    });
    reaches_nothing(&lab, "outward");
    lab.vial(["check", "outward"]).ok();
    kill(&lab.status("outward")["keeperPid"]);
    eventually("the next keeper", || {
        let ran = lab.vial(["check", "outward"]);
        (ran.code == 0).then_some(()).ok_or(ran.stderr)
    });
    assert_eq!(carrier(&lab, "outward"), None);
    reaches_nothing(&lab, "outward");
    lab.vial(["up", "outward", "--outbound", "auto"]).ok();
    reaches_the_world(&lab, "outward");

    lab.vial(["down", "outward"]).ok();
    assert_eq!(carrier(&lab, "outward"), None);
    assert_eq!(world.look(), before);
    lab.assert_nothing_left();
}

#[test]
fn a_host_that_gets_a_network_later_gives_its_clusters_a_way_out() {
    let world = World::apart();
    let lab = Lab::new(&["later"]).on(&world);
    lab.vial(["up", "later", "--workers", "1"]).ok();
    assert_eq!(carrier(&lab, "later"), None);
    let url = named();
    let refused = fetch(&lab, "later", Client::Node("w-1"), &[&url]);
    assert!(refused.is_err(), "{refused:?}");
    world.connect();
    eventually("a node reaches the world", || {
        fetch(&lab, "later", Client::Node("w-1"), &[&url])
    });
    let six = format!("http://[{V6}]:{PORT}/");
    eventually("over IPv6 too", || {
        fetch(&lab, "later", Client::Node("w-1"), &[&six])
    });
    lab.vial(["down", "later"]).ok();
    lab.before().assert_same(&Host::look());
}
