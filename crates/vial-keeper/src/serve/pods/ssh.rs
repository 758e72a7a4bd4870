//! The files that let ssh find the pods: `$VIAL_HOME/ssh/UID/CLUSTER/pods`, for every person that has files of the cluster.
//!
//! How a person reaches the cluster stands in the configuration of its nodes, which the command line wrote beside; where
//! the home is, in `.home` above. What is in a home is touched with the rights of that person only.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use vial_cloud::pods::Known;
use vial_cloud::ssh::config::{Site, text};
use vial_cloud::ssh::{Home, Who, put};
use vial_engine::paths::Paths;

use crate::failure::chain;

/// A home may be on a disk that does not answer; the others are served all the same.
const PATIENCE: Duration = Duration::from_secs(5);

/// Writes the files of everybody, where they are not as they should be.
pub(super) async fn write(paths: &Paths, cluster: &str, nodes: Vec<String>, known: &Known) {
    let known = Arc::new((nodes, known.clone()));
    for directory in persons(paths, cluster) {
        let (known, cluster) = (Arc::clone(&known), cluster.to_owned());
        let place = directory.display().to_string();
        let writing = tokio::task::spawn_blocking(move || {
            of_person(&directory, &cluster, &known.0, &known.1)
        });
        match tokio::time::timeout(PATIENCE, writing).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => {
                tracing::warn!(error = %chain(&error), place, "cannot write the names of pods");
            }
            Ok(Err(_)) | Err(_) => tracing::warn!(place, "cannot write the names of pods in time"),
        }
    }
}

/// The directories `$VIAL_HOME/ssh/UID/CLUSTER`.
fn persons(paths: &Paths, cluster: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(paths.home.join("ssh")).into_iter().flatten();
    all.flatten()
        .map(|person| person.path().join(cluster))
        .filter(|directory| directory.is_dir())
        .collect()
}

fn of_person(directory: &Path, cluster: &str, nodes: &[String], known: &Known) -> io::Result<()> {
    let config = directory.join("config");
    let (metadata, nodes_config) = match fs::metadata(&config) {
        // Being made, or being removed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => (metadata?, fs::read_to_string(&config)?),
    };
    let who = Who {
        uid: metadata.uid(),
        gid: metadata.gid(),
    };
    let Some(netcat) = netcat(&nodes_config) else {
        return Ok(());
    };
    let home = home(directory, who);
    let keys = match &home {
        Some(home) => home.keys(),
        None => vec!["~/.ssh/vial/id_ed25519".into()],
    };
    let known_hosts = directory.join("pods_known_hosts");
    let site = Site {
        context: cluster,
        taken: nodes,
        keys: &keys,
        known_hosts: &known_hosts,
    };
    let text = text(site, known.values(), |pod| {
        format!("{netcat} svc/{}/{} 22", pod.namespace, pod.name)
    });
    put(&known_hosts, text.known_hosts.as_bytes(), Some(who))?;
    put(&directory.join("pods"), text.config.as_bytes(), Some(who))?;
    home.map_or(Ok(()), |home| home.settle())
}

/// How this person reaches the cluster: what stands before the host in the ProxyCommand of the nodes.
fn netcat(config: &str) -> Option<&str> {
    let mut lines = config.lines();
    let command = lines.find_map(|line| line.trim_start().strip_prefix("ProxyCommand "))?;
    command.strip_suffix(" %h %p")
}

fn home(directory: &Path, who: Who) -> Option<Home> {
    let named = fs::read_to_string(directory.parent()?.join(".home")).ok()?;
    let dir = PathBuf::from(named.trim_end_matches('\n'));
    dir.is_absolute().then_some(Home {
        who,
        dir,
        is_login: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_reached_as_the_nodes_are() {
        let config =
            "Host w-1.dev.vial\n  User root\n  ProxyCommand sudo '/a b/vial' netcat -c dev %h %p\n";
        assert_eq!(netcat(config), Some("sudo '/a b/vial' netcat -c dev"));
        assert_eq!(netcat("Host a\n"), None);
    }
}
