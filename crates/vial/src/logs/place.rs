//! Which logs a cluster has, and which of them are meant.

use std::path::PathBuf;

use vial_engine::paths::Paths;
use vial_keeper::api::ClusterStatus;

use crate::error::{Code, Error, Result};
use crate::near;

/// The machine of the cluster's registry, and the one component on it.
const REGISTRY: &str = "registry";
/// The cluster's keeper, as if it were a machine and the one component on it.
const KEEPER: &str = "keeper";
/// What a virtual machine says on its console, as if it were a component.
const CONSOLE: &str = "console";
/// The first process of the sandbox, likewise.
const INIT: &str = "init";

/// One log of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// `w-1`, or `registry`, `keeper`, `init`.
    pub(crate) node: String,
    /// `kubelet`.
    pub(crate) component: String,
    /// Who has it.
    pub(crate) origin: Origin,
}

/// Who has a log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// The agent of a container, by the cluster's run directory and the container's name.
    Agent(PathBuf, String),
    /// A file of the host.
    File(PathBuf),
}

/// What was asked for, by names; none of a kind means all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// Nodes.
    pub(crate) nodes: Vec<String>,
    /// Components.
    pub(crate) components: Vec<String>,
}

/// All logs of a running cluster.
pub(crate) fn all(paths: &Paths, status: &ClusterStatus) -> Vec<Place> {
    let cluster = &status.name;
    let agent = |container: &str| Origin::Agent(paths.run_dir(cluster), container.to_owned());
    let mut places = Vec::new();
    for node in &status.nodes {
        places.extend(node.components.iter().map(|component| Place {
            node: node.name.clone(),
            component: component.name.clone(),
            origin: agent(&component.container),
        }));
        if node.driver == "vm" && !node.stopped {
            let log = paths.run_dir(cluster).join("agents");
            let log = log.join(format!("{}.machine/console.log", node.name));
            places.push(Place {
                node: node.name.clone(),
                component: CONSOLE.to_owned(),
                origin: Origin::File(log),
            });
        }
    }
    let one = |name: &str, origin| Place {
        node: name.to_owned(),
        component: name.to_owned(),
        origin,
    };
    let run = paths.run_dir(cluster);
    places.push(one(REGISTRY, agent(REGISTRY)));
    places.push(one(KEEPER, Origin::File(run.join("keeper.log"))));
    places.push(one(INIT, Origin::File(run.join("init.log"))));
    places
}

impl Wanted {
    /// Is it one log by its full name, which needs no names before its lines?
    pub(crate) fn is_one(&self) -> bool {
        self.nodes.len() == 1 && self.components.len() == 1
    }

    /// Is this log meant?
    pub(crate) fn wants(&self, place: &Place) -> bool {
        let among = |names: &[String], name| names.is_empty() || names.contains(name);
        among(&self.nodes, &place.node) && among(&self.components, &place.component)
    }

    /// Those of `all` that are meant.
    ///
    /// # Errors
    /// When a name is not known, or a node has none of the wanted components; near names are told.
    pub(crate) fn of(&self, cluster: &str, all: &[Place]) -> Result<Vec<Place>> {
        let mut nodes: Vec<&str> = all.iter().map(|place| &*place.node).collect();
        nodes.dedup();
        for node in &self.nodes {
            if !nodes.contains(&node.as_str()) {
                return Err(no_node(cluster, node, &nodes, all));
            }
        }
        for component in &self.components {
            let mut on = all
                .iter()
                .filter(|place| self.nodes.is_empty() || self.nodes.contains(&place.node));
            if !on.clone().any(|place| place.component == *component) {
                let mut known: Vec<&str> = on.by_ref().map(|place| &*place.component).collect();
                known.sort_unstable();
                known.dedup();
                let whose = match self.nodes.as_slice() {
                    [node] => format!("node `{node}`"),
                    _ => format!("cluster `{cluster}`"),
                };
                let what = format!("{whose} has no component `{component}`");
                let hint = near::hint("component", component, known.iter().copied());
                return Err(Error::new(Code::NotFound, what).hint(hint));
            }
        }
        Ok(all
            .iter()
            .filter(|place| self.wants(place))
            .cloned()
            .collect())
    }
}

fn no_node(cluster: &str, node: &str, nodes: &[&str], all: &[Place]) -> Error {
    let what = format!("cluster `{cluster}` has no node `{node}`");
    let error = Error::new(Code::NotFound, what);
    if all.iter().any(|place| place.component == node) {
        return error.hint(format!(
            "{node} is a component: `vial logs --component {node}` shows it on all nodes"
        ));
    }
    error.hint(near::hint("node", node, nodes.iter().copied()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::status::tests::cluster;

    fn places() -> Vec<Place> {
        let paths = Paths {
            home: "/home".into(),
            run: "/run".into(),
        };
        all(&paths, &cluster())
    }

    fn wanted(nodes: &[&str], components: &[&str]) -> Result<Vec<String>> {
        let names = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        let wanted = Wanted {
            nodes: names(nodes),
            components: names(components),
        };
        let found = wanted.of("dev", &places())?;
        let name = |place: &Place| format!("{}/{}", place.node, place.component);
        Ok(found.iter().map(name).collect())
    }

    #[test]
    fn names_choose_among_all_logs() {
        assert_eq!(wanted(&[], &[]).unwrap().len(), places().len());
        assert_eq!(wanted(&["w-1"], &["kubelet"]).unwrap(), ["w-1/kubelet"]);
        assert_eq!(wanted(&["keeper"], &[]).unwrap(), ["keeper/keeper"]);
        let kubelets = wanted(&[], &["kubelet", "registry"]).unwrap();
        assert!(kubelets.contains(&"w-1/kubelet".into()), "{kubelets:?}");
        assert_eq!(kubelets.last().unwrap(), "registry/registry");
        let file = places().into_iter().find(|place| place.node == "init");
        let log = PathBuf::from("/run/dev/init.log");
        assert_eq!(file.unwrap().origin, Origin::File(log));
    }

    #[test]
    fn an_unknown_name_has_near_ones() {
        for (nodes, components, hint) in [
            (&["w-11"][..], &[][..], "did you mean w-1"),
            (&["w-1"], &["kubelt"], "did you mean kubelet?"),
            (&[], &["kubelt"], "did you mean kubelet?"),
            (&["kubelet"], &[], "vial logs --component kubelet"),
        ] {
            let error = wanted(nodes, components).unwrap_err();
            assert_eq!(error.exit_code(), 3);
            assert!(error.hints()[0].contains(hint), "{:?}", error.hints());
        }
    }
}
