//! Forwarded ports: to Services, Pods and nodes, at `up` and later, through whatever happens to what they lead to.

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::process::Signal;
use vial_keeper::api::{PortState, PortStatus};

use crate::http::{fetch, refused};
use crate::lab::{Host, Lab, eventually, kill, listener, signal};

const WEB: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: c
          image: registry.k8s.io/e2e-test-images/agnhost:2.63.0
          imagePullPolicy: IfNotPresent
          args: [netexec, --http-port=8080]
          ports: [{name: http, containerPort: 8080}]
          readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: headless}
spec: {clusterIP: None, selector: {app: web}, ports: [{name: http, port: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: single}
spec:
  terminationGracePeriodSeconds: 0
  nodeName: w-1
  containers:
    - name: c
      image: registry.k8s.io/e2e-test-images/agnhost:2.63.0
      imagePullPolicy: IfNotPresent
      args: [netexec, --http-port=8080]
      ports: [{name: http, containerPort: 8080}]
";

/// A port of the host that nobody has at this moment.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

/// The forwarded ports of the cluster.
pub(crate) fn ports(lab: &Lab, cluster: &str) -> Vec<PortStatus> {
    let listed = lab.vial(["port", "ls", "-c", cluster, "-o", "json"]).ok();
    serde_json::from_str(&listed).expect("ports")
}

/// Forwards one more port, and gives where.
#[track_caller]
fn add(lab: &Lab, cluster: &str, port: &str) -> SocketAddr {
    let added = lab
        .vial(["port", "add", "-c", cluster, port, "-o", "json"])
        .json();
    let host = added[0]["host"].as_str().expect("an address");
    host.parse().expect("an address")
}

#[track_caller]
fn eventually_is(lab: &Lab, cluster: &str, spec: &str, state: PortState) -> PortStatus {
    eventually(spec, || {
        let ports = ports(lab, cluster);
        let found = ports.into_iter().find(|port| port.spec == spec);
        let port = found.ok_or_else(|| "not listed".to_owned())?;
        if port.state == state {
            Ok(port)
        } else {
            Err(format!("{port:?}"))
        }
    })
}

/// The listeners of the host that are this cluster's.
fn own_listeners(lab: &Lab, cluster: &str) -> Vec<String> {
    let status = lab.status(cluster);
    let endpoints = status["endpoints"].as_array().cloned().unwrap_or_default();
    let addresses = endpoints
        .iter()
        .filter_map(|one| one["host"].as_str()?.parse().ok());
    addresses.map(listener).collect()
}

/// What a server says first.
fn greeting(address: SocketAddr) -> Result<String, String> {
    let ask = || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut buffer = [0; 8];
        stream.read_exact(&mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer).into_owned())
    };
    ask().map_err(|error: std::io::Error| error.to_string())
}

#[test]
fn ports_lead_to_services_pods_and_nodes_whatever_happens_to_them() {
    let lab = Lab::new(&["ported"]);
    let (web, ssh) = (free_port(), free_port());
    let (to_web, to_node) = (
        format!("{web}:svc/default/web:http"),
        format!("{ssh}:w-1:22"),
    );
    let ran = lab.vial([
        "up",
        "ported",
        "--workers",
        "1",
        "-p",
        &to_web,
        "-p",
        &to_node,
    ]);
    let told = format!("127.0.0.1:{web} leads nowhere yet: svc/default/web does not exist");
    assert!(ran.stderr.contains(&told), "{ran:?}");
    ran.ok();
    eventually_is(&lab, "ported", &to_web, PortState::Waiting);
    let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!(greeting(at(ssh)).as_deref(), Ok("SSH-2.0-"));
    fetch(at(web), "/hostname").expect_err("there is no such Service yet");

    // The Service comes: the port leads to it, without a word said to vial.
    lab.apply("ported", WEB);
    let pod = || {
        let name = [
            "get",
            "pods",
            "-l",
            "app=web",
            "-o",
            "jsonpath={.items[*].metadata.name}",
        ];
        lab.kubectl("ported", &name).ok()
    };
    let answers = |address: SocketAddr, what: &str| {
        eventually(what, || {
            let (name, pod) = (fetch(address, "/hostname")?, pod());
            if name == pod {
                Ok(())
            } else {
                Err(format!("{name} instead of {pod}"))
            }
        });
    };
    answers(at(web), "a Service that came later");
    eventually_is(&lab, "ported", &to_web, PortState::Open);

    // More ports, of every form, while it runs.
    let k = |args: &[&str]| lab.kubectl("ported", args).ok();
    lab.await_pod("ported", "single");
    let single = add(&lab, "ported", "0:pod/default/single:http");
    assert_eq!(fetch(single, "/hostname").as_deref(), Ok("single"));
    answers(
        add(&lab, "ported", "[::1]:0:svc/default/headless:8080"),
        "endpoints, over IPv6 of the host",
    );
    answers(
        add(
            &lab,
            "ported",
            &format!("127.0.0.2:{web}:svc/default/web:80"),
        ),
        "the same port of another address",
    );
    let named = "0:web.default.svc.cluster.local:80";
    answers(add(&lab, "ported", named), "a name of the cluster's DNS");
    let listed = lab.vial(["port", "ls", "-c", "ported", "-o", "name"]).ok();
    assert_eq!(listed.lines().count(), 6, "{listed}");
    let status = lab.vial(["status", "ported"]).ok();
    for port in ports(&lab, "ported") {
        assert!(
            status.contains(&port.host) && status.contains(&port.target),
            "{status}"
        );
    }
    // On the host there are these sockets, and nothing else is different.
    lab.before()
        .assert_same_but(&Host::look(), &own_listeners(&lab, "ported"));

    // Everything that a port leads to goes away and comes back.
    k(&["delete", "pod", "-l", "app=web"]);
    answers(at(web), "another Pod");
    k(&["delete", "service", "web"]);
    let waiting = eventually_is(&lab, "ported", &to_web, PortState::Waiting);
    assert!(waiting.message.contains("does not exist"), "{waiting:?}");
    lab.apply("ported", WEB);
    answers(at(web), "another Service of that name");
    k(&["delete", "pod", "single"]);
    lab.apply("ported", WEB);
    eventually("another Pod of that name", || fetch(single, "/hostname"));

    // What the cluster is made of goes away: control plane, keeper, sandbox.
    signal(lab.agent_pid("ported", "cp-1.control-plane"), Signal::KILL);
    eventually("nobody needs to ask the API", || {
        fetch(at(web), "/hostname")
    });
    answers(at(web), "with the next API");
    let before = ports(&lab, "ported");
    kill(&lab.status("ported")["keeperPid"]);
    let other = TcpListener::bind(at(web)).expect("the keeper let go");
    eventually_is(&lab, "ported", &to_web, PortState::Taken);
    let ran = lab.vial(["up", "ported"]);
    let told = format!("127.0.0.1:{web} leads nowhere yet: taken by");
    assert!(ran.stderr.contains(&told), "{ran:?}");
    ran.ok();
    lab.vial(["port", "add", "-c", "ported", &to_node]).ok();
    drop(other);
    answers(at(web), "the next keeper, as soon as the port is free");
    let specs = |ports: &[PortStatus]| {
        ports
            .iter()
            .map(|port| port.spec.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(specs(&ports(&lab, "ported")), specs(&before));
    kill(&lab.status("ported")["sandboxPid"]);
    eventually("the sandbox is gone", || {
        let ports = ports(&lab, "ported");
        if ports.iter().all(|port| port.state == PortState::Stopped) {
            Ok(())
        } else {
            Err(format!("{ports:?}"))
        }
    });
    lab.vial(["up", "ported"]).ok();
    answers(at(web), "the cluster that was started again");
    eventually("the port that was chosen once", || {
        fetch(single, "/hostname")
    });
    assert_eq!(specs(&ports(&lab, "ported")), specs(&before));

    // Fewer: a port that is gone is closed, and stays away at the next up.
    lab.vial([
        "port",
        "rm",
        "-c",
        "ported",
        &format!("127.0.0.1:{web}"),
        &single.to_string(),
    ])
    .ok();
    eventually("the port is closed", || {
        refused(fetch(at(web), "/hostname"))
    });
    lab.vial(["up", "ported"]).ok();
    assert_eq!(ports(&lab, "ported").len(), 4);
    lab.vial(["down", "ported"]).ok();
    lab.assert_nothing_left();
}

#[test]
fn what_cannot_be_forwarded_is_told_and_changes_nothing() {
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = other.local_addr().expect("bound").port();
    let lab = Lab::new(&["refused", "never"]);
    let (ran, me) = (
        lab.vial(["up", "never", "-p", &format!("{taken}:w-1:22")]),
        format!("(pid {})", std::process::id()),
    );
    assert_eq!(ran.code, 5, "{ran:?}");
    assert!(
        ran.stderr
            .contains(&format!("127.0.0.1:{taken} is taken by"))
            && ran.stderr.contains(&me),
        "{ran:?}"
    );
    lab.assert_nothing_left();
    let port = free_port();
    for (ports, told) in [
        (
            vec![format!("{port}:w-1:22"), format!("{port}:w-2:22")],
            "want the same port",
        ),
        (vec![format!("{port}:w1:22")], "did you mean \"w-1\"?"),
        (vec!["8080:web:80:90".into()], "not an address of the host"),
        (vec![format!("0.0.0.0:{port}:w-1:22")], ",public"),
    ] {
        let mut arguments = vec!["up", "never"];
        arguments.extend(ports.iter().flat_map(|port| ["-p", port]));
        let ran = lab.vial(arguments);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains(told), "{ran:?}");
    }
    lab.assert_nothing_left();

    lab.vial([
        "up",
        "refused",
        "--workers",
        "0",
        "-p",
        &format!("{port}:cp-1:22"),
    ])
    .ok();
    let before = (ports(&lab, "refused"), own_listeners(&lab, "refused"));
    let other = free_port();
    for (code, wanted, told) in [
        (5, format!("{taken}:cp-1:22"), me.as_str()),
        (5, format!("{port}:cp-1:23"), "leads to cp-1:22 already"),
        (3, format!("{other}:w-1:22"), "there is cp-1"),
        (
            3,
            format!("{other}:svc/default/kubernets:443"),
            "did you mean \"svc/default/kubernetes\"?",
        ),
        (
            3,
            format!("{other}:svc/defalt/kubernetes:443"),
            "did you mean \"svc/default/kubernetes\"?",
        ),
        (
            3,
            format!("{other}:svc/default/kubernetes:80"),
            "it has https (443)",
        ),
        (
            3,
            format!("{other}:pod/kube-system/none:80"),
            "does not exist",
        ),
        (
            2,
            format!("{other}:svc/default/kubernetes:53/udp"),
            "only TCP",
        ),
        (2, format!("{other}:127.0.0.1:80"), "127.0.0.1"),
        (
            5,
            format!("192.0.2.1:{other}:cp-1:22,public"),
            "is no address of this machine",
        ),
    ] {
        // A good one before it is not forwarded either.
        let ran = lab.vial(["port", "add", "-c", "refused", "0:cp-1:22", &wanted]);
        assert_eq!(ran.code, code, "{wanted}: {ran:?}");
        assert!(ran.stderr.contains(told), "{wanted}: {ran:?}");
        assert_eq!(
            (ports(&lab, "refused"), own_listeners(&lab, "refused")),
            before,
            "{wanted}"
        );
    }
    lab.before().assert_same_but(&Host::look(), &before.1);
    let ran = lab.vial(["port", "rm", "-c", "refused", &port.to_string(), "1"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert_eq!(ports(&lab, "refused"), before.0);
    // Forwarding it again is no mistake.
    lab.vial(["port", "add", "-c", "refused", &format!("{port}:cp-1:22")])
        .ok();
    assert_eq!(ports(&lab, "refused"), before.0);
}
