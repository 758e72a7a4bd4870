//! Forwarded ports under many connections: nothing is left of them, and who floods one takes nothing from the others.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use vial_keeper::api::PortStatus;

use crate::http::fetch;
use crate::lab::{Lab, eventually, kill};
use crate::ports::ports;

const SERVER: &str = "apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
    - name: c
      image: registry.k8s.io/e2e-test-images/agnhost:2.63.0
      imagePullPolicy: IfNotPresent
      args: [netexec, --http-port=8080]
      ports: [{name: http, containerPort: 8080}]
      readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
";

/// Pid of the cluster's keeper.
fn keeper(lab: &Lab, cluster: &str) -> i64 {
    lab.status(cluster)["keeperPid"].as_i64().expect("a keeper")
}

fn count(pid: i64, what: &str) -> usize {
    fs::read_dir(format!("/proc/{pid}/{what}"))
        .expect("it lives")
        .count()
}

#[track_caller]
fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connected");
    let patience = Some(Duration::from_secs(60));
    stream.set_read_timeout(patience).expect("set");
    stream
}

/// Asks, and does not wait for the answer.
#[track_caller]
fn ask(mut stream: &TcpStream) {
    let question = b"GET /hostname HTTP/1.0\r\n\r\n";
    stream.write_all(question).expect("written");
}

/// The same, of a server that keeps the connection for the next question.
#[track_caller]
fn ask_on(mut stream: &TcpStream) {
    let question = b"GET /hostname HTTP/1.1\r\nHost: web\r\n\r\n";
    stream.write_all(question).expect("written");
}

fn answer(mut stream: TcpStream) -> String {
    let mut text = String::new();
    match stream.read_to_string(&mut text) {
        Ok(_) => text,
        Err(error) => error.to_string(),
    }
}

fn first_word(mut stream: TcpStream) -> String {
    let mut word = [0; 8];
    stream.read_exact(&mut word).expect("an answer");
    String::from_utf8_lossy(&word).into_owned()
}

/// Where a forwarded port is.
fn address(port: &PortStatus) -> SocketAddr {
    port.host.parse().expect("an address")
}

#[track_caller]
fn eventually_has(lab: &Lab, cluster: &str, port: usize, connections: usize) {
    eventually("as many connections", || {
        let now = ports(lab, cluster)[port].connections;
        if now == connections {
            Ok(())
        } else {
            Err(format!("{now} instead of {connections}"))
        }
    });
}

#[track_caller]
fn eventually_at_most(keeper: i64, descriptors: usize) {
    eventually("no descriptor is left", || {
        let now = count(keeper, "fd");
        if now <= descriptors + 2 * KEPT_PIPES {
            Ok(())
        } else {
            Err(format!("{now} instead of {descriptors}"))
        }
    });
}

#[test]
fn ten_thousand_connections_leave_no_descriptor_and_need_no_thread_each() {
    vial_sys::limits::raise_descriptors().expect("raised");
    let lab = Lab::up("busy", &["--workers", "0", "-p", "0:pod/default/web:http"]);
    lab.apply("busy", SERVER);
    let port = address(&ports(&lab, "busy")[0]);
    eventually("it answers", || fetch(port, "/hostname"));
    let keeper = keeper(&lab, "busy");
    let (descriptors, threads) = (count(keeper, "fd"), count(keeper, "task"));

    for round in 0..10 {
        let open: Vec<TcpStream> = (0..1000).map(|_| connect(port)).collect();
        eventually_has(&lab, "busy", 0, open.len());
        let now = count(keeper, "task");
        assert!(now < threads + 20, "{now} threads instead of {threads}");
        // All are held at once, and each of them works.
        open.iter().for_each(ask);
        for (number, stream) in open.into_iter().enumerate() {
            // Some go away without listening to the answer.
            if number % 10 != 0 {
                let answer = answer(stream);
                let as_asked = answer.ends_with("\r\n\r\nweb");
                assert!(as_asked, "{number} of round {round}: {answer}");
            }
        }
    }
    eventually_has(&lab, "busy", 0, 0);
    eventually_at_most(keeper, descriptors);
    // Three times as many in a minute would need ports again that were used just now.
    let reuse = ["cat", "/proc/sys/net/ipv4/tcp_tw_reuse"];
    assert_eq!(lab.exec("busy", "cp-1", &reuse).ok(), "1");
    lab.vial(["down", "busy"]).ok();
    lab.assert_nothing_left();
}

#[test]
fn a_flooded_port_takes_nothing_from_others_and_recovers() {
    vial_sys::limits::raise_descriptors().expect("raised");
    let to_web = "0:pod/default/web:http";
    let lab = Lab::up("flooded", &["--workers", "0", "-p", to_web]);
    lab.apply("flooded", SERVER);
    lab.vial(["port", "add", "-c", "flooded", to_web]).ok();
    // A keeper that may not have many descriptors: that flood is quickly made.
    kill(&lab.status("flooded")["keeperPid"]);
    lab.shell("ulimit -n 2048; vial status flooded", &[]).ok();
    let keeper = keeper(&lab, "flooded");
    let listed = ports(&lab, "flooded");
    let [flooded, other] = [0, 1].map(|number| address(&listed[number]));
    eventually("it answers", || fetch(flooded, "/hostname"));
    let descriptors = count(keeper, "fd");

    let mut flood: Vec<TcpStream> = (0..1500).map(|_| connect(flooded)).collect();
    flood.iter().for_each(ask_on);
    let shut_out = eventually("it has all that it may have", || {
        match ports(&lab, "flooded")[0].connections {
            few @ 100..1000 => Ok(flood.len() - few),
            other => Err(format!("{other} connections")),
        }
    });
    assert!(shut_out > 500, "{shut_out}");
    assert!(count(keeper, "fd") < 2048);
    // The other port, the API, and the keeper itself are served meanwhile.
    assert_eq!(fetch(other, "/hostname").as_deref(), Ok("web"));
    lab.kubectl("flooded", &["get", "--raw", "/readyz"]).ok();
    lab.vial(["status", "flooded"]).ok();
    // One that waits in the queue comes to its turn when others go.
    let last = flood.pop().expect("one");
    flood.clear();
    assert_eq!(first_word(last), "HTTP/1.1");
    assert_eq!(fetch(flooded, "/hostname").as_deref(), Ok("web"));
    eventually_has(&lab, "flooded", 0, 0);
    eventually_at_most(keeper, descriptors);
    lab.vial(["down", "flooded"]).ok();
    lab.assert_nothing_left();
}

/// Pipes that [`vial_net::relay`] keeps for the next connection.
const KEPT_PIPES: usize = 4;
