//! Services of type LoadBalancer: an address that works on either side.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use serde_json::{Value, json};

use crate::http::{fetch, refused};
use crate::lab::{Lab, eventually};

const WEB: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: c
          image: registry.k8s.io/e2e-test-images/agnhost:2.63.0
          imagePullPolicy: IfNotPresent
          args: [netexec, --http-port=8080, --udp-port=8081]
          ports: [{name: http, containerPort: 8080}]
          readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  ipFamilyPolicy: RequireDualStack
  sessionAffinity: ClientIP
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}, {name: echo, port: 53, protocol: UDP, targetPort: 8081}]
";

/// The addresses of a Service by their mode, as its status has them.
fn addresses(lab: &Lab, cluster: &str, service: &str, mode: &str) -> Vec<String> {
    let status = lab
        .kubectl(cluster, &["get", "service", service, "-o", "json"])
        .json();
    let ingress = status["status"]["loadBalancer"]["ingress"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let of_mode = ingress.iter().filter(|one| one["ipMode"] == mode);
    of_mode
        .map(|one| one["ip"].as_str().expect("an address").to_owned())
        .collect()
}

/// The Service's loopback address, as soon as it has one.
#[track_caller]
fn loopback(lab: &Lab, cluster: &str, service: &str) -> Ipv4Addr {
    eventually("a loopback address", || {
        let found = addresses(lab, cluster, service, "Proxy");
        found
            .first()
            .and_then(|one| one.parse().ok())
            .ok_or_else(|| format!("{found:?}"))
    })
}

/// What a UDP server says to a client of the host.
fn ask(address: impl Into<SocketAddr>, question: &str) -> Result<String, String> {
    let ask = || {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        socket.connect(address.into())?;
        socket.send(question.as_bytes())?;
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    };
    ask().map_err(|error: std::io::Error| error.to_string())
}

fn patch(lab: &Lab, cluster: &str, service: &str, spec: Value) {
    let patch = json!({"spec": spec}).to_string();
    lab.kubectl(cluster, &["patch", "service", service, "-p", &patch])
        .ok();
}

#[test]
fn a_load_balancer_is_reached_at_one_address_from_inside_and_another_from_the_host() {
    let lab = Lab::up("balanced", &["--workers", "1"]);
    lab.apply("balanced", WEB);
    let k = |args: &[&str]| lab.kubectl("balanced", args);
    k(&["rollout", "status", "deployment/web", "--timeout=90s"]).ok();
    let pod = k(&[
        "get",
        "pods",
        "-l",
        "app=web",
        "-o",
        "jsonpath={.items[0].metadata.name}",
    ])
    .ok();

    let host = loopback(&lab, "balanced", "web");
    assert!(host.to_string().starts_with("127.89."), "{host}");
    let virtual_ones = addresses(&lab, "balanced", "web", "VIP");
    assert!(
        virtual_ones[0].starts_with("10.89.128.") && virtual_ones[1].starts_with("fd89:0:0:128::"),
        "{virtual_ones:?}"
    );

    // On the host: the real ports, also one below 1024, over TCP and UDP.
    eventually("the host reaches it", || {
        fetch((host, 80), "/hostname").and_then(|name| same(&name, &pod))
    });
    eventually("the host reaches it by UDP", || {
        ask((host, 53), "hostname").and_then(|name| same(&name, &pod))
    });
    // Inside: from nodes and pods, over both families.
    for address in &virtual_ones {
        let url = if address.contains(':') {
            format!("http://[{address}]/hostname")
        } else {
            format!("http://{address}/hostname")
        };
        let curl = ["curl", "-sS", "-m", "5", &url];
        for node in ["cp-1", "w-1"] {
            eventually("a node reaches it", || {
                same(&lab.exec("balanced", node, &curl).stdout, &pod)
            });
        }
        let inside = [&["exec", &pod, "--"], &curl[..]].concat();
        eventually("a pod reaches it", || same(&k(&inside).stdout, &pod));
    }

    // The keeper dies: the next one serves the same addresses.
    let keeper = lab.status("balanced")["keeperPid"].clone();
    crate::lab::kill(&keeper);
    lab.status("balanced");
    eventually("the next keeper serves", || {
        fetch((host, 80), "/hostname").and_then(|name| same(&name, &pod))
    });
    assert_eq!(
        (
            loopback(&lab, "balanced", "web"),
            addresses(&lab, "balanced", "web", "VIP")
        ),
        (host, virtual_ones)
    );

    // Another port, and only that one.
    patch(
        &lab,
        "balanced",
        "web",
        json!({"ports": [{"name": "http", "port": 80, "$patch": "delete"}, {"name": "other", "port": 8000, "targetPort": "http"}]}),
    );
    eventually("the new port", || {
        fetch((host, 8000), "/hostname").and_then(|name| same(&name, &pod))
    });
    eventually("the old port is closed", || {
        refused(fetch((host, 80), "/hostname"))
    });

    // Another type: nothing of it is left, on either side.
    patch(&lab, "balanced", "web", json!({"type": "ClusterIP"}));
    eventually("the port is closed", || {
        refused(fetch((host, 8000), "/hostname"))
    });
    eventually("the status is empty", || {
        let status = k(&[
            "get",
            "service",
            "web",
            "-o",
            "jsonpath={.status.loadBalancer}",
        ])
        .ok();
        if status == "{}" { Ok(()) } else { Err(status) }
    });

    // And the cluster's end closes all.
    patch(&lab, "balanced", "web", json!({"type": "LoadBalancer"}));
    eventually("served again", || fetch((host, 8000), "/hostname"));
    lab.vial(["down", "balanced"]).ok();
    lab.assert_nothing_left();
}

#[test]
fn side_by_side_load_balancers_have_addresses_of_their_own_and_leave_others_alone() {
    let lab = Lab::new(&["left", "right"]);
    for cluster in ["left", "right"] {
        lab.vial(["up", cluster, "--workers", "0"]).ok();
        let service = |name: &str, spec: &str| {
            format!(
                "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{type: LoadBalancer, ports: [{{port: 8070}}]{spec}}}\n"
            )
        };
        let many: String = (0..100)
            .map(|number| service(&format!("s{number}"), ""))
            .collect();
        let special = service("other", ", loadBalancerClass: example.com/other")
            + &service("wished", ", loadBalancerIP: 10.89.128.200")
            + &service("closed", ", loadBalancerSourceRanges: [10.0.0.0/8]");
        lab.apply(cluster, &(special + &many));
    }
    let all = |cluster: &str| {
        let services = lab
            .kubectl(cluster, &["get", "services", "-o", "json"])
            .json();
        let services = services["items"].as_array().expect("services").clone();
        let of = move |service: &Value| {
            service["status"]["loadBalancer"]["ingress"]
                .as_array()
                .cloned()
                .unwrap_or_default()
        };
        services
            .into_iter()
            .map(move |service| {
                (
                    service["metadata"]["name"]
                        .as_str()
                        .unwrap_or_default()
                        .to_owned(),
                    of(&service),
                )
            })
            .collect::<Vec<_>>()
    };
    let complete = |cluster: &str| {
        eventually("every service has its addresses", || {
            let all = all(cluster);
            let done = all
                .iter()
                .filter(|(_, ingress)| !ingress.is_empty())
                .count();
            if done == 102 {
                Ok(all)
            } else {
                Err(format!("{done} of 102 have addresses"))
            }
        })
    };
    let (left, right) = (complete("left"), complete("right"));
    let of = |all: &[(String, Vec<Value>)], name: &str| {
        all.iter()
            .find(|(other, _)| other == name)
            .expect("the service")
            .1
            .clone()
    };
    assert_eq!(
        of(&left, "other"),
        Vec::<Value>::new(),
        "meant for another load balancer"
    );
    assert_eq!(of(&left, "wished")[0]["ip"], "10.89.128.200");
    assert_eq!(
        of(&left, "closed")[1]["ports"][0]["error"],
        "vial.dev/NotInSourceRanges"
    );
    let loopback = |all: &[(String, Vec<Value>)]| -> Vec<String> {
        let of_host = all
            .iter()
            .flat_map(|(_, ingress)| ingress)
            .filter(|one| one["ipMode"] == "Proxy");
        of_host.map(|one| one["ip"].to_string()).collect()
    };
    let mut addresses = [loopback(&left), loopback(&right)].concat();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), 204, "no address twice, in no cluster");

    // A port that another program has is told, and taken as soon as it is free.
    let host: Ipv4Addr = of(&left, "s0")[1]["ip"]
        .as_str()
        .and_then(|ip| ip.parse().ok())
        .expect("an address");
    let other = TcpListener::bind((host, 8071)).expect("free");
    patch(
        &lab,
        "left",
        "s0",
        json!({"ports": [{"port": 8070, "$patch": "delete"}, {"port": 8071}]}),
    );
    let error = || of(&all("left"), "s0")[1]["ports"][0]["error"].clone();
    eventually("the port in use is told", || {
        if error() == "vial.dev/PortNotAvailable" {
            Ok(())
        } else {
            Err(error().to_string())
        }
    });
    drop(other);
    eventually("the port is taken", || {
        if error().is_null() {
            Ok(())
        } else {
            Err(error().to_string())
        }
    });

    // What another manager writes stays.
    let theirs =
        json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1", "ipMode": "VIP"}]}}})
            .to_string();
    lab.kubectl(
        "left",
        &[
            "patch",
            "service",
            "s1",
            "--subresource=status",
            "-p",
            &theirs,
        ],
    )
    .ok();
    eventually("vial says that it leaves it", || {
        let events = lab
            .kubectl(
                "left",
                &[
                    "get",
                    "events",
                    "--field-selector=involvedObject.name=s1",
                    "-o",
                    "jsonpath={.items[*].reason}",
                ],
            )
            .ok();
        if events.contains("AddressesOfOthers") {
            Ok(())
        } else {
            Err(events)
        }
    });
    assert_eq!(of(&all("left"), "s1")[0]["ip"], "192.0.2.1");

    lab.vial(["down", "left", "right"]).ok();
    lab.assert_nothing_left();
}

fn same(seen: &str, wanted: &str) -> Result<(), String> {
    if seen.trim() == wanted {
        Ok(())
    } else {
        Err(format!("{seen:?} instead of {wanted:?}"))
    }
}
