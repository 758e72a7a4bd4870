//! Secrets in objects: by what a field means, whatever is in it.

use serde_json::{Map, Value};

use super::patterns::SECRET_NAME;
use super::{MARK, Redactor, text::harmless};

/// What kubectl writes: the whole object once more, as it was applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

impl Redactor {
    /// An object of Kubernetes, or a list of them, without secrets, and without what only tools need.
    pub(crate) fn object(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => self.fields(fields),
            Value::Array(items) => {
                let words: Option<Vec<String>> = items
                    .iter()
                    .map(|item| item.as_str().map(ToOwned::to_owned))
                    .collect();
                match words {
                    // It may be a command.
                    Some(words) => {
                        *items = self.words(&words).into_iter().map(Value::from).collect();
                    }
                    None => items.iter_mut().for_each(|item| self.object(item)),
                }
            }
            Value::String(text) => *text = self.text(text),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// What a person asked a cluster to be: also without the content of files and manifests, which may be anything.
    pub(crate) fn specification(&self, value: &mut Value) {
        for pointer in ["/manifests", "/nodes"] {
            for item in value
                .pointer_mut(pointer)
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                hide_content(item);
                for file in item
                    .pointer_mut("/files")
                    .and_then(Value::as_array_mut)
                    .into_iter()
                    .flatten()
                {
                    hide_content(file);
                }
            }
        }
        self.object(value);
    }

    fn fields(&self, fields: &mut Map<String, Value>) {
        if fields.get("kind").and_then(Value::as_str) == Some("Secret") {
            for name in ["data", "stringData"] {
                hide_values(fields.get_mut(name));
            }
        }
        fields.remove("managedFields");
        for (name, value) in fields {
            match (name.as_str(), &mut *value) {
                (LAST_APPLIED, value) => *value = MARK.into(),
                ("env", Value::Array(variables)) => variables.iter_mut().for_each(|variable| {
                    if let Some(value) = variable.pointer_mut("/value") {
                        *value = MARK.into();
                    }
                    self.object(variable);
                }),
                ("env", value @ Value::Object(_)) => hide_values(Some(value)),
                (name, Value::String(text)) if SECRET_NAME.is_match(name) && !harmless(text) => {
                    *text = MARK.into();
                }
                (_, value) => self.object(value),
            }
        }
    }
}

fn hide_values(of: Option<&mut Value>) {
    let values = of.and_then(Value::as_object_mut).into_iter();
    values
        .flat_map(Map::values_mut)
        .for_each(|value| *value = MARK.into());
}

fn hide_content(of: &mut Value) {
    if let Some(content) = of.pointer_mut("/content") {
        let length = content.as_str().map_or(0, str::len);
        *content = format!("{MARK}: {length} bytes").into();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_keep_their_shape_and_lose_their_secrets() {
        let mut list = json!({"items": [
            {"kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "swordfish"}, "stringData": {"b": "swordfish"}},
            {
                "kind": "Pod",
                "metadata": {
                    "name": "p",
                    "managedFields": [{"x": 1}],
                    "annotations": {LAST_APPLIED: "{\"env\": \"swordfish\"}", "note": "stays"},
                },
                "spec": {
                    "containers": [{
                        "args": ["--password", "swordfish", "--v=2"],
                        "env": [
                            {"name": "FISH", "value": "swordfish"},
                            {"name": "REF", "valueFrom": {"secretKeyRef": {"name": "s", "key": "a"}}},
                        ],
                    }],
                    "volumes": [{"secret": {"secretName": "s"}}],
                    "automountServiceAccountToken": true,
                },
            },
            {"kind": "Widget", "spec": {"apiToken": "swordfish", "clientSecret": "swordfish", "count": 3}},
            {"kind": "ConfigMap", "data": {"x.conf": "password = swordfish\nuser = ann\n"}},
        ]});
        Redactor::default().object(&mut list);
        let text = list.to_string();
        assert!(!text.contains("swordfish"), "{text}");
        for kept in [
            "\"note\":\"stays\"",
            "\"FISH\"",
            "secretKeyRef",
            "\"secretName\":\"s\"",
            "--v=2",
            "user = ann",
            "\"count\":3",
        ] {
            assert!(text.contains(kept), "{kept} of {text}");
        }
        assert!(!text.contains("managedFields"), "{text}");
    }

    #[test]
    fn a_specification_loses_what_files_and_manifests_hold() {
        let mut spec = json!({
            "name": "dev",
            "nodes": [{"name": "w-1", "files": [{"path": "/etc/x", "content": "swordfish", "mode": 384}]}],
            "manifests": [{"name": "inline 1", "content": "kind: Secret\ndata: swordfish"}],
            "components": {"kubelet": {"env": {"A": "swordfish"}, "args": {"v": "4", "bootstrap-token": "swordfish"}}},
        });
        Redactor::default().specification(&mut spec);
        let text = spec.to_string();
        assert!(!text.contains("swordfish"), "{text}");
        assert!(
            text.contains("[removed]: 9 bytes") && text.contains("/etc/x"),
            "{text}"
        );
        assert!(text.contains("\"v\":\"4\""), "{text}");
    }
}
