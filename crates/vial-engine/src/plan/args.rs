//! Command lines of components: vial's flags, then the person's changes over them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use vial_spec::{ComponentConfig, NodeConfig};

use super::Context;

/// The flags of one program, by name without dashes.
#[derive(Debug, Default)]
pub(super) struct Args(BTreeMap<String, String>);

impl Args {
    pub(super) fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// `--feature-gates` of vial's own gates and then the person's, when there are any.
    pub(super) fn feature_gates(self, ours: &[&str], context: &Context<'_>) -> Self {
        let asked = context
            .spec
            .feature_gates
            .iter()
            .map(|(name, on)| format!("{name}={on}"));
        let gates: Vec<_> = ours.iter().map(ToString::to_string).chain(asked).collect();
        if gates.is_empty() {
            self
        } else {
            self.set("feature-gates", gates.join(","))
        }
    }

    /// The person's flags replace ours; `null` removes one.
    pub(super) fn overlaid(mut self, config: &ComponentConfig) -> Self {
        for (name, value) in &config.args {
            match value {
                Some(value) => self.0.insert(name.clone(), value.clone()),
                None => self.0.remove(name),
            };
        }
        self
    }

    /// `program --a=1 --b=2`, sorted by flag.
    pub(super) fn argv(self, program: &str) -> Vec<String> {
        std::iter::once(program.to_owned())
            .chain(self.flags("--"))
            .collect()
    }

    /// `--a=1 --b=2`, sorted by flag; some programs want one dash.
    pub(super) fn flags(self, dashes: &str) -> Vec<String> {
        let flags = self.0.into_iter();
        flags
            .map(|(name, value)| format!("{dashes}{name}={value}"))
            .collect()
    }
}

impl Context<'_> {
    /// What is changed of a component on a node: the cluster's changes, then the node's over them.
    pub(super) fn config(&self, node: &NodeConfig, component: &str) -> ComponentConfig {
        let mut merged = self
            .spec
            .components
            .get(component)
            .cloned()
            .unwrap_or_default();
        if let Some(own) = node.components.get(component) {
            merged.args.extend(own.args.clone());
            merged.env.extend(own.env.clone());
            merge(&mut merged.config, &own.config);
        }
        merged
    }
}

/// Merges a patch over a value: objects by key, `null` removes, everything else replaces (RFC 7386). A patch that is
/// `null` as a whole means "nothing was asked for".
pub(super) fn merge(value: &mut Value, patch: &Value) {
    match patch {
        Value::Null => {}
        Value::Object(patch) => {
            if !value.is_object() {
                *value = Value::Object(Map::new());
            }
            let Value::Object(target) = value else { return };
            for (key, patch) in patch {
                if patch.is_null() {
                    target.remove(key);
                } else {
                    merge(target.entry(key.clone()).or_insert(Value::Null), patch);
                }
            }
        }
        other => *value = other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_persons_flag_replaces_ours_and_null_removes_it() {
        let config = ComponentConfig {
            args: [
                ("v".to_owned(), Some("4".to_owned())),
                ("profiling".to_owned(), None),
            ]
            .into(),
            ..ComponentConfig::default()
        };
        let argv = Args::default()
            .set("profiling", "false")
            .set("v", "0")
            .set("a", "1")
            .overlaid(&config)
            .argv("kubelet");
        assert_eq!(argv, ["kubelet", "--a=1", "--v=4"]);
    }

    #[test]
    fn merging_follows_rfc_7386() {
        let mut value = json!({"a": {"b": 1, "c": 2}, "d": [1]});
        merge(
            &mut value,
            &json!({"a": {"b": null, "e": {"f": 3}}, "d": [2, 3]}),
        );
        assert_eq!(value, json!({"a": {"c": 2, "e": {"f": 3}}, "d": [2, 3]}));
        merge(&mut value, &Value::Null);
        assert_eq!(value["d"], json!([2, 3]));
    }
}
