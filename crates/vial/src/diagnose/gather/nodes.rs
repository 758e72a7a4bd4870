//! What is to be seen on a node, and only there: its processes, network, mounts and containers, asked of its agent.

use std::time::Duration;

use vial_rpc::exec_collect;
use vial_spec::NodeConfig;

use super::{Tray, late};
use crate::agent::Container;
use crate::context::Context;
use crate::error::chain;

/// For one answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Files of a node, what they are, and the commands whose output they are, one a line.
const ANSWERS: &[(&str, &str, &str)] = &[
    (
        "processes.txt",
        "processes",
        "ps -eo pid,ppid,user,stat,lstart,time,rss,nlwp,wchan:20,args -ww",
    ),
    (
        "network.txt",
        "addresses, routes, neighbours, listeners",
        "ip -details address\nip rule\nip route show table all\nip -6 route show table all\nip neighbour\nss -tulpn\ncat /etc/hosts /etc/resolv.conf",
    ),
    ("nftables.txt", "rules of its firewall", "nft list ruleset"),
    ("mounts.txt", "mounts", "cat /proc/self/mountinfo"),
    (
        "resources.txt",
        "disk, memory, cgroups, kernel parameters",
        "df -hT\ndf -i\nfree -m\ncat /proc/self/cgroup\ncat /proc/pressure/cpu /proc/pressure/memory /proc/pressure/io\nsysctl fs.inotify net.ipv4.ip_forward net.ipv6.conf.all.forwarding",
    ),
    (
        "containers.txt",
        "containerd's pods, containers and images",
        "ctr --namespace k8s.io containers list\nctr --namespace k8s.io tasks list\nctr --namespace k8s.io images list\nctr plugins list",
    ),
];

/// Gathers `nodes/NODE/`.
pub(in crate::diagnose) async fn gather(
    context: &Context,
    cluster: &str,
    node: &NodeConfig,
    tray: &Tray,
) {
    let ask = |container| ask(context, cluster, &node.name, container, tray);
    match node.containers().len() {
        1 => ask(Container::Node).await,
        _ => {
            tokio::join!(ask(Container::Node), ask(Container::ControlPlane));
        }
    }
}

async fn ask(context: &Context, cluster: &str, node: &str, container: Container, tray: &Tray) {
    let (place, answers) = match container {
        Container::Node => (format!("nodes/{node}"), ANSWERS),
        // The network and the disk are the node's.
        Container::ControlPlane => (format!("nodes/{node}/control-plane"), &ANSWERS[..1]),
    };
    let nothing =
        |why: String| tray.nothing(format!("{place}/"), "what is to be seen on the node", why);
    let (run, name) = (context.paths.run_dir(cluster), container.name_on(node));
    let channel = match tokio::time::timeout(PATIENCE, vial_sandbox::agent(&run, &name)).await {
        Ok(Ok(channel)) => channel,
        Ok(Err(error)) => return nothing(format!("its agent does not answer: {}", chain(&error))),
        Err(_) => return nothing("its agent does not answer".to_owned()),
    };
    for (file, what, commands) in answers {
        let path = format!("{place}/{file}");
        let words = ["sh".to_owned(), "-c".to_owned(), script(commands)];
        let asked = exec_collect(channel.clone(), words, b"");
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(output)) => {
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                tray.text(path, what, Ok::<_, std::io::Error>(text));
            }
            Ok(Err(error)) => tray.nothing(path, what, chain(&error)),
            Err(_) => {
                tray.nothing(path, what, late(PATIENCE));
                // Whoever is silent once is so for all.
                return;
            }
        }
    }
}

/// Tells each command before its output; one that fails keeps the others from nothing.
fn script(commands: &str) -> String {
    let run = |command: &str| format!("echo '$ {command}'; {command} 2>&1; echo");
    commands.lines().map(run).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_stand_before_their_output() {
        assert_eq!(
            script("a b\nc"),
            "echo '$ a b'; a b 2>&1; echo\necho '$ c'; c 2>&1; echo"
        );
    }
}
