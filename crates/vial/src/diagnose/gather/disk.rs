//! What lies on the host's disk: the cluster's record, its story, its nodes' logs. It is there whatever is stuck or gone.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::Path;

use vial_engine::paths::Paths;
use vial_engine::record::Record;

use super::tree::{Tree, tail};
use super::{Tray, Wrote, processes};
use crate::commands::registry::bytes_below;
use crate::context::Context;
use crate::diagnose::Known;
use crate::error::{Error, chain};

/// Of a component's log, the last bytes.
const COMPONENT: u64 = 2 * 1024 * 1024;
/// Of a container's.
const CONTAINER: u64 = 256 * 1024;
/// So many containers' logs on a node at most.
const CONTAINERS: usize = 60;

/// Learns what must not be seen: the cluster's keys, and what a person laid over its nodes.
pub(in crate::diagnose) fn secrets(
    paths: &Paths,
    cluster: &str,
    record: Option<&Record>,
    known: &mut Known,
) {
    keys(&paths.cluster_dir(cluster).join("pki"), known);
    let spec = record.map(|record| &record.spec);
    for node in spec.iter().flat_map(|spec| &spec.nodes) {
        node.files.iter().for_each(|file| known.add(&file.content));
    }
    let nodes = spec.iter().flat_map(|spec| &spec.nodes);
    let components = nodes.flat_map(|node| node.components.values());
    let components = components.chain(spec.iter().flat_map(|spec| spec.components.values()));
    components
        .flat_map(|component| component.env.values())
        .for_each(|value| known.add(value));
}

/// Files that begin as private keys do.
fn keys(dir: &Path, known: &mut Known) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => keys(&path, known),
            Ok(kind) if kind.is_file() => {
                let text = fs::read_to_string(&path).unwrap_or_default();
                if text.contains("PRIVATE KEY-----") {
                    known.add(&text);
                }
            }
            _ => {}
        }
    }
}

/// Gathers `logs/`, and what of `cluster/` is on the disk.
pub(in crate::diagnose) async fn gather(
    context: &Context,
    cluster: &str,
    record: Option<&Record>,
    pods: Option<HashSet<String>>,
    tray: &Tray,
) {
    let (paths, cluster, tray) = (context.paths.clone(), cluster.to_owned(), tray.clone());
    let read = tokio::task::spawn_blocking({
        let nodes = record.map(|record| {
            record
                .spec
                .nodes
                .iter()
                .map(|node| node.name.clone())
                .collect()
        });
        move || {
            let nodes: Vec<String> = nodes.unwrap_or_else(|| node_dirs(&paths, &cluster));
            // The small things first: a disk may be slow.
            facts(&paths, &cluster, &tray);
            logs(&paths, &cluster, &nodes, pods.as_ref(), &tray);
            usage(&paths, &cluster, &nodes, &tray);
        }
    });
    // A panic is told by the runtime.
    let _ = read.await;
}

/// Nodes of a cluster whose record cannot be read.
fn node_dirs(paths: &Paths, cluster: &str) -> Vec<String> {
    let entries = fs::read_dir(paths.cluster_dir(cluster).join("nodes"));
    let entries = entries.into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

fn facts(paths: &Paths, cluster: &str, tray: &Tray) {
    let dir = paths.cluster_dir(cluster);
    let wrote = match fs::read_to_string(dir.join("cluster.json")) {
        Ok(text) => match serde_json::from_str(&text) {
            Ok(value) => Wrote::Specification(value),
            Err(error) => {
                Wrote::Nothing(format!("{} bytes that are no record: {error}", text.len()))
            }
        },
        Err(error) => Wrote::Nothing(error.to_string()),
    };
    tray.add(
        "cluster/record.json",
        "what vial remembers of it, and what it shall be",
        wrote,
    );
    for (name, what) in [
        ("events.ndjson", "what happened, as `vial events` says"),
        ("events.ndjson.1", "what happened before that"),
        (
            "load-balancer.json",
            "addresses of Services of type LoadBalancer",
        ),
    ] {
        match File::open(dir.join(name)) {
            Ok(file) => tray.text(format!("cluster/{name}"), what, tail(&file, COMPONENT)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => tray.nothing(format!("cluster/{name}"), what, chain(&error)),
        }
    }
    let run = paths.run_dir(cluster);
    let listing = format!("{}{}", listing(&dir, 3), listing(&run, 3));
    tray.text(
        "cluster/files.txt",
        "its files, by name and size",
        Ok::<_, Error>(listing),
    );
    let signed = fs::read(paths.lock_file(cluster)).unwrap_or_default();
    let signed: serde_json::Value = serde_json::from_slice(&signed).unwrap_or_default();
    let processes = processes::of(&paths.sandbox_name(cluster), signed["pid"].as_u64());
    tray.text(
        "cluster/processes.txt",
        "its processes, as the host sees them",
        Ok::<_, Error>(processes),
    );
}

fn logs(
    paths: &Paths,
    cluster: &str,
    nodes: &[String],
    pods: Option<&HashSet<String>>,
    tray: &Tray,
) {
    for name in ["keeper", "init"] {
        let path = paths.run_dir(cluster).join(name).with_extension("log");
        let log = File::open(path).and_then(|file| tail(&file, COMPONENT));
        let what = match name {
            "keeper" => "what the keeper says",
            _ => "what the first process of the sandbox says",
        };
        tray.text(format!("logs/{name}.log"), what, log);
    }
    if pods.is_none() {
        let why = "the API does not answer: it is not known what in them is secret";
        tray.nothing("logs/", "logs of pods that are not the system's", why);
    }
    let dir = paths.cluster_dir(cluster);
    for node in nodes {
        let place = dir.join("nodes").join(node);
        components(&place.join("log"), &format!("logs/{node}"), tray);
        let control_plane = place.join("control-plane/log");
        if control_plane.is_dir() {
            components(&control_plane, &format!("logs/{node}"), tray);
        }
        containers(&place.join("log"), node, pods, tray);
    }
    components(&dir.join("registry/log"), "logs/registry", tray);
}

/// All that components wrote into a directory that is `/var/log` to them.
fn components(dir: &Path, place: &str, tray: &Tray) {
    let nothing = |error: std::io::Error| {
        tray.nothing(format!("{place}/"), "logs of components", chain(&error))
    };
    let tree = match Tree::open(dir) {
        Ok(tree) => tree,
        Err(error) => return nothing(error),
    };
    let names = match tree.names("vial") {
        Ok(names) => names,
        Err(error) => return nothing(error),
    };
    for name in names.iter().filter(|name| name.ends_with(".log")) {
        let component = name.trim_end_matches(".log");
        let what = format!("what {component} says");
        tray.text(
            format!("{place}/{name}"),
            &what,
            tree.tail(&format!("vial/{name}"), COMPONENT),
        );
    }
}

/// Logs of pods' containers, where kubelet has them: `pods/NAMESPACE_POD_UID/CONTAINER/N.log`.
fn containers(dir: &Path, node: &str, pods: Option<&HashSet<String>>, tray: &Tray) {
    let Ok(tree) = Tree::open(dir) else { return };
    let mut left = CONTAINERS;
    let mut all = tree.names("pods").unwrap_or_default();
    // The system's are wanted most.
    all.sort_by_key(|pod| !pod.starts_with("kube-system_"));
    for pod in all {
        let [namespace, name, uid] = pod.splitn(3, '_').collect::<Vec<_>>()[..] else {
            continue;
        };
        let wanted = match pods {
            Some(pods) => pods.contains(uid),
            // Nobody has said which words in them are secret.
            None => namespace == "kube-system",
        };
        if !wanted {
            continue;
        }
        for container in tree.names(&format!("pods/{pod}")).unwrap_or_default() {
            let runs = tree
                .names(&format!("pods/{pod}/{container}"))
                .unwrap_or_default();
            // The present one, and the one before.
            for run in runs
                .iter()
                .filter(|run| run.ends_with(".log"))
                .rev()
                .take(2)
            {
                if left == 0 {
                    tray.nothing(
                        format!("logs/{node}/pods/"),
                        "logs of more pods",
                        "there are too many",
                    );
                    return;
                }
                left -= 1;
                let path = format!("logs/{node}/pods/{namespace}/{name}/{container}-{run}");
                let what = format!("what {container} of pod {namespace}/{name} says");
                let log = tree.tail(&format!("pods/{pod}/{container}/{run}"), CONTAINER);
                tray.text(path, &what, log);
            }
        }
    }
}

/// Bytes on disk; counted last, since there may be many files.
fn usage(paths: &Paths, cluster: &str, nodes: &[String], tray: &Tray) {
    let dir = paths.cluster_dir(cluster);
    let mut text = String::new();
    let mut count =
        |name: String, dir: &Path| text += &format!("{:>14}  {name}\n", bytes_below(dir));
    for node in nodes {
        count(format!("nodes/{node}"), &dir.join("nodes").join(node));
    }
    count("registry".to_owned(), &dir.join("registry"));
    count("images".to_owned(), &dir.join("images"));
    tray.text(
        "cluster/disk-usage.txt",
        "bytes on disk, those shared with the node image too",
        Ok::<_, Error>(text),
    );
}

/// Names, sizes and modes below a directory, links not followed.
fn listing(dir: &Path, depth: usize) -> String {
    use std::os::unix::fs::MetadataExt as _;
    let mut entries: Vec<_> = fs::read_dir(dir).into_iter().flatten().flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    let mut text = String::new();
    for entry in entries {
        let Ok(found) = entry.metadata() else {
            continue;
        };
        let path = entry.path();
        text += &format!(
            "{:o} {}:{} {:>10} {}\n",
            found.mode(),
            found.uid(),
            found.gid(),
            found.len(),
            path.display()
        );
        if found.is_dir() && depth > 1 {
            text += &listing(&path, depth - 1);
        }
    }
    text
}
