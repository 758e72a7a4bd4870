//! Changes to components: which names there are, which flags can be written, and what wins.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{FieldPath, Problems, syntax};
use crate::ComponentConfig;
use crate::file::ComponentEntry;
use crate::names;

/// What runs on every node.
const NODE: [&str; 3] = ["containerd", "kube-proxy", "kubelet"];
/// What runs on a control plane besides.
const CONTROL_PLANE: [&str; 4] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
];
/// What runs as pods.
const PODS: [&str; 1] = ["coredns"];
/// What reads a configuration file that can be changed.
const CONFIGURED: [&str; 2] = ["kube-proxy", "kubelet"];

/// For which nodes changes are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// All nodes.
    Cluster,
    /// Control planes.
    ControlPlane,
    /// Workers.
    Worker,
}

impl Scope {
    fn allowed(self) -> Vec<&'static str> {
        let mut allowed = NODE.to_vec();
        if self != Scope::Worker {
            allowed.extend(CONTROL_PLANE);
        }
        if self == Scope::Cluster {
            allowed.extend(PODS);
        }
        allowed.sort_unstable();
        allowed
    }
}

/// Checks and takes over the changes written at one place.
pub(super) fn resolve(
    path: &FieldPath,
    entries: BTreeMap<String, ComponentEntry>,
    scope: Scope,
    problems: &mut Problems,
) -> BTreeMap<String, ComponentConfig> {
    let mut found = BTreeMap::new();
    for (name, entry) in entries {
        let path = path.key(&name);
        check_name(&path, &name, scope, problems);
        for (flag, value) in &entry.args {
            let path = path.key("args").key(flag);
            syntax::flag(&path, flag, problems);
            syntax::no_nul(&path, value.as_ref().map_or("", |value| &value.0), problems);
        }
        for (variable, value) in &entry.env {
            let path = path.key("env").key(variable);
            syntax::env_name(&path, variable, problems);
            syntax::no_nul(&path, &value.0, problems);
        }
        if !entry.config.is_empty() && !CONFIGURED.contains(&name.as_str()) {
            let message = format!("{name} has no configuration file that can be changed");
            let hint = format!("only {} have; use args", CONFIGURED.join(" and "));
            problems.add_hint(&path.key("config"), message, Some(hint));
        }
        let config = if entry.config.is_empty() {
            Value::Null
        } else {
            Value::Object(entry.config)
        };
        found.insert(
            name,
            ComponentConfig {
                args: entry
                    .args
                    .into_iter()
                    .map(|(flag, value)| (flag, value.map(|value| value.0)))
                    .collect(),
                env: entry
                    .env
                    .into_iter()
                    .map(|(variable, value)| (variable, value.0))
                    .collect(),
                config,
            },
        );
    }
    found
}

fn check_name(path: &FieldPath, name: &str, scope: Scope, problems: &mut Problems) {
    let allowed = scope.allowed();
    if allowed.contains(&name) {
        return;
    }
    if PODS.contains(&name) {
        let hint = format!("change it for the whole cluster: components.{name}");
        problems.add_hint(
            path,
            format!("{name} runs as pods, not on single nodes"),
            Some(hint),
        );
    } else if CONTROL_PLANE.contains(&name) {
        problems.add(path, format!("{name} does not run on workers"));
    } else {
        let list = format!("possible are {}", allowed.join(", "));
        let hint = names::did_you_mean(name, &allowed)
            .map_or_else(|| list.clone(), |meant| format!("{meant} ({list})"));
        problems.add_hint(path, format!("there is no component {name:?}"), Some(hint));
    }
}

/// Lays the changes of a single node over those of its group.
pub(super) fn overlay(
    below: &mut BTreeMap<String, ComponentConfig>,
    above: BTreeMap<String, ComponentConfig>,
) {
    for (name, above) in above {
        let below = below.entry(name).or_default();
        below.args.extend(above.args);
        below.env.extend(above.env);
        match (&mut below.config, above.config) {
            (_, Value::Null) => {}
            (Value::Object(below), Value::Object(above)) => combine_patches(below, above),
            (below, above) => *below = above,
        }
    }
}

/// Makes of two RFC 7386 patches the one that does both: as applying a patch, but a `null` stays, for it removes.
fn combine_patches(first: &mut Map<String, Value>, second: Map<String, Value>) {
    for (key, value) in second {
        match (first.get_mut(&key), value) {
            (Some(Value::Object(first)), Value::Object(second)) => combine_patches(first, second),
            (_, value) => {
                first.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(args: &[(&str, Option<&str>)], config: Value) -> BTreeMap<String, ComponentConfig> {
        let args = args
            .iter()
            .map(|(flag, value)| ((*flag).to_owned(), value.map(str::to_owned)))
            .collect();
        BTreeMap::from([(
            "kubelet".to_owned(),
            ComponentConfig {
                args,
                env: BTreeMap::new(),
                config,
            },
        )])
    }

    #[test]
    fn the_node_wins_over_its_group() {
        let mut below = config(
            &[("v", Some("2")), ("a", Some("1"))],
            json!({"maxPods": 50, "x": {"y": 1, "z": 2}}),
        );
        let above = config(
            &[("v", Some("4")), ("b", None)],
            json!({"maxPods": 9, "x": {"y": null}, "new": []}),
        );
        overlay(&mut below, above);
        let expected = config(
            &[("a", Some("1")), ("b", None), ("v", Some("4"))],
            json!({"maxPods": 9, "x": {"y": null, "z": 2}, "new": []}),
        );
        assert_eq!(below, expected);
    }

    #[test]
    fn what_is_only_in_the_group_stays() {
        let mut below = config(&[("v", Some("2"))], json!({"maxPods": 50}));
        let expected = below.clone();
        overlay(&mut below, config(&[], Value::Null));
        assert_eq!(below, expected);
    }
}
