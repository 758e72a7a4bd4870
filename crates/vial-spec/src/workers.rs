//! Workers that come and go one by one, over the life of a cluster.

use crate::cluster::{ClusterSpec, MAX_WORKERS, NodeConfig, Role};
use crate::machine::Machine;

/// How a new worker is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fashion<'a> {
    /// A container.
    Container,
    /// A virtual machine of the usual size.
    Vm,
    /// As this worker is, but for directories of the host, which only a new cluster can bind.
    Like(&'a str),
}

/// Why no worker can be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    /// There is no room for so many.
    #[error("a cluster has at most {MAX_WORKERS} workers, this one has {there}")]
    TooMany {
        /// How many there are.
        there: usize,
    },
    /// Nobody to take after.
    #[error("there is no worker {0:?}")]
    Unknown(String),
}

impl ClusterSpec {
    /// The same cluster with more workers; they take the lowest numbers that are free.
    ///
    /// # Errors
    /// When there is no room for them, or no worker of the name to take after.
    pub fn with_workers(&self, count: u32, fashion: &Fashion<'_>) -> Result<Self, AddError> {
        let worker = |node: &&NodeConfig| node.role == Role::Worker;
        let there = self.nodes.iter().filter(worker).count();
        let plain = |machine| NodeConfig {
            name: String::new(),
            role: Role::Worker,
            ordinal: 0,
            labels: Default::default(),
            taints: Vec::new(),
            machine,
            mounts: Vec::new(),
            files: Vec::new(),
            components: Default::default(),
        };
        let pattern = match fashion {
            Fashion::Container => plain(None),
            Fashion::Vm => plain(Some(Machine::default())),
            Fashion::Like(name) => {
                let node = self.node(name).filter(worker);
                let node = node.ok_or_else(|| AddError::Unknown((*name).to_owned()))?;
                NodeConfig {
                    mounts: Vec::new(),
                    machine: node.machine.as_ref().map(Machine::like),
                    ..node.clone()
                }
            }
        };
        let mut spec = self.clone();
        let taken = |ordinal: &u32| {
            let mut workers = self.nodes.iter().filter(worker);
            workers.any(|node| node.ordinal == *ordinal)
        };
        let free = (1..=MAX_WORKERS).filter(|ordinal| !taken(ordinal));
        let wanted = usize::try_from(count).unwrap_or(usize::MAX);
        let free: Vec<u32> = free.take(wanted).collect();
        if free.len() < wanted {
            return Err(AddError::TooMany { there });
        }
        spec.nodes.extend(free.into_iter().map(|ordinal| {
            NodeConfig {
                name: format!("w-{ordinal}"),
                ordinal,
                machine: pattern
                    .machine
                    .clone()
                    .map(|machine| machine.of(Role::Worker, ordinal)),
                ..pattern.clone()
            }
        }));
        spec.nodes.sort_by_key(|node| (node.role, node.ordinal));
        Ok(spec)
    }

    /// The same cluster without these nodes.
    #[must_use]
    pub fn without_nodes(&self, names: &[String]) -> Self {
        let mut spec = self.clone();
        spec.nodes.retain(|node| !names.contains(&node.name));
        spec
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Driver, File, Overrides};

    fn spec(yaml: &str) -> ClusterSpec {
        let text = format!("apiVersion: vial/v1\nkind: Cluster\n{yaml}");
        let file = File::parse(&text, "vial.yaml").unwrap();
        file.validate(&Overrides::default(), &|_| unreachable!())
            .unwrap()
    }

    fn names(spec: &ClusterSpec) -> Vec<&str> {
        spec.nodes.iter().map(|node| node.name.as_str()).collect()
    }

    #[test]
    fn new_workers_take_the_lowest_free_numbers() {
        let before = spec("workers: 3").without_nodes(&["w-2".into()]);
        assert_eq!(names(&before), ["cp-1", "w-1", "w-3"]);
        let after = before.with_workers(2, &Fashion::Vm).unwrap();
        assert_eq!(names(&after), ["cp-1", "w-1", "w-2", "w-3", "w-4"]);
        let drivers: Vec<_> = after.nodes.iter().map(NodeConfig::driver).collect();
        assert_eq!(drivers[2], Driver::Vm);
        assert_eq!(drivers[3], Driver::Container);
        assert_eq!(after.without_nodes(&["w-2".into(), "w-4".into()]), before);
    }

    #[test]
    fn a_new_worker_may_take_after_another_one() {
        let before = spec(
            "workers: 1\nnodes: {w-1: {labels: {disk: fast}, taints: [a=b:NoSchedule], mounts: [{hostPath: /a, nodePath: /b}]}}",
        );
        let after = before.with_workers(1, &Fashion::Like("w-1")).unwrap();
        let (old, new) = (&after.nodes[1], &after.nodes[2]);
        assert_eq!((&new.labels, &new.taints), (&old.labels, &old.taints));
        assert!(new.mounts.is_empty() && !old.mounts.is_empty());
        for name in ["w-9", "cp-1"] {
            let error = before.with_workers(1, &Fashion::Like(name)).unwrap_err();
            assert_eq!(error, AddError::Unknown(name.into()));
        }
    }

    #[test]
    fn there_is_room_for_twenty() {
        let before = spec("workers: 18");
        assert_eq!(
            names(&before.with_workers(2, &Fashion::Container).unwrap()).len(),
            21
        );
        for count in [3, u32::MAX] {
            let error = before.with_workers(count, &Fashion::Container).unwrap_err();
            assert_eq!(error, AddError::TooMany { there: 18 });
        }
    }
}
