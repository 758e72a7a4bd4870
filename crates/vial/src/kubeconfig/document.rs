//! A kubeconfig as a tree of values: what is added and removed, nothing else touched. No input or output.
//!
//! Source of the format: `k8s.io/client-go/tools/clientcmd/api/v1/types.go`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::context_name;

/// How to reach a cluster and who one is there; PEM for the certificates and the key.
#[derive(Clone)]
pub(crate) struct Access {
    /// `https://127.0.0.1:PORT`.
    pub(crate) server: String,
    /// Of the server's certificate.
    pub(crate) ca: String,
    /// The client's.
    pub(crate) certificate: String,
    /// The client's; a secret.
    pub(crate) key: String,
}

/// A kubeconfig. Fields and entries that vial does not know are kept, in their order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Document(Map<String, Value>);

/// The three lists, and the key under which an entry of it has its content.
const LISTS: [(&str, &str); 3] = [
    ("clusters", "cluster"),
    ("contexts", "context"),
    ("users", "user"),
];

impl Default for Document {
    /// What `kubectl config view` shows when there is no file.
    fn default() -> Self {
        let mut map = Map::new();
        map.insert("apiVersion".into(), "v1".into());
        map.insert("kind".into(), "Config".into());
        Self(map)
    }
}

impl Document {
    /// Reads YAML or JSON. Nothing but spaces and comments is an empty kubeconfig, as for kubectl.
    ///
    /// # Errors
    /// What is wrong with it: it is not YAML, or not a kubeconfig.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let value: Value = serde_saphyr::from_str(text)
            .map_err(|error| crate::error::chain(error.without_snippet()))?;
        let map = match value {
            Value::Null => return Ok(Self::default()),
            Value::Object(map) => map,
            other => return Err(format!("it is {}, not a mapping", kind_of(&other))),
        };
        for (key, expected) in [("apiVersion", "v1"), ("kind", "Config")] {
            match map.get(key) {
                None | Some(Value::Null) => {}
                Some(Value::String(found)) if found == expected || found.is_empty() => {}
                Some(other) => return Err(format!("its {key} is {other}, not {expected}")),
            }
        }
        for (list, _) in LISTS {
            let entries = match map.get(list) {
                None | Some(Value::Null) => continue,
                Some(Value::Array(entries)) => entries,
                Some(other) => {
                    return Err(format!("its {list} are {}, not a list", kind_of(other)));
                }
            };
            if let Some(entry) = entries.iter().find(|entry| !entry.is_object()) {
                return Err(format!(
                    "an entry of its {list} is {}, not a mapping",
                    kind_of(entry)
                ));
            }
        }
        match map.get("current-context") {
            None | Some(Value::Null | Value::String(_)) => Ok(Self(map)),
            Some(other) => Err(format!(
                "its current-context is {}, not a string",
                kind_of(other)
            )),
        }
    }

    /// A kubeconfig with this one cluster.
    pub(crate) fn standalone(name: &str, access: &Access) -> Self {
        let mut document = Self::default();
        document.merge(name, access);
        document
    }

    /// As YAML. Strings that YAML 1.1 readers (kubectl is one) would take for something else are quoted.
    ///
    /// # Errors
    /// Only when the writer fails on memory.
    pub(crate) fn to_yaml(&self) -> Result<String, String> {
        let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
        serde_saphyr::to_string_with_options(&self.0, options).map_err(|error| error.to_string())
    }

    /// As JSON, which is YAML as well.
    pub(crate) fn as_json(&self) -> &Map<String, Value> {
        &self.0
    }

    /// The context that is used when none is named.
    pub(crate) fn current_context(&self) -> Option<&str> {
        self.0
            .get("current-context")
            .and_then(Value::as_str)
            .filter(|name| !name.is_empty())
    }

    /// Is there such a context?
    pub(crate) fn has_context(&self, name: &str) -> bool {
        self.0
            .get("contexts")
            .and_then(Value::as_array)
            .is_some_and(|list| list.iter().any(|entry| is_named(entry, name)))
    }

    /// Adds or replaces the cluster's entries and makes its context the current one.
    pub(crate) fn merge(&mut self, cluster: &str, access: &Access) {
        let name = context_name(cluster);
        for (list, key) in LISTS {
            let content = match key {
                "cluster" => json!({
                    "certificate-authority-data": STANDARD.encode(&access.ca),
                    "server": access.server,
                }),
                "context" => json!({ "cluster": name, "user": name }),
                _ => json!({
                    "client-certificate-data": STANDARD.encode(&access.certificate),
                    "client-key-data": STANDARD.encode(&access.key),
                }),
            };
            self.put(list, key, &name, content);
        }
        self.0.insert("current-context".into(), name.into());
    }

    /// Removes the cluster's entries. Where its context was the current one, `previous` is again, if it still exists.
    /// Tells whether there was anything to do.
    pub(crate) fn unmerge(&mut self, cluster: &str, previous: Option<&str>) -> bool {
        let name = context_name(cluster);
        let mut changed = false;
        for (list, _) in LISTS {
            if let Some(entries) = self.0.get_mut(list).and_then(Value::as_array_mut) {
                let before = entries.len();
                entries.retain(|entry| !is_named(entry, &name));
                changed |= entries.len() != before;
            }
        }
        if self.current_context() == Some(&name) {
            let back = previous
                .filter(|previous| self.has_context(previous))
                .unwrap_or_default()
                .to_owned();
            self.0.insert("current-context".into(), back.into());
            changed = true;
        }
        changed
    }

    /// Nothing is in it that anybody could miss.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|(key, value)| match value {
            _ if key == "apiVersion" || key == "kind" => true,
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            Value::Bool(_) | Value::Number(_) => false,
        })
    }

    fn put(&mut self, list: &str, key: &str, name: &str, content: Value) {
        let slot = self.0.entry(list).or_insert(Value::Null);
        if !slot.is_array() {
            // `parse` lets only a missing or a null list pass.
            *slot = Value::Array(Vec::new());
        }
        let Some(entries) = slot.as_array_mut() else {
            return;
        };
        match entries
            .iter_mut()
            .find(|entry| is_named(entry, name))
            .and_then(Value::as_object_mut)
        {
            // What a person added to the context (a namespace, say) stays; what the old cluster of this name had goes.
            Some(entry) => match (
                key,
                entry.get_mut(key).and_then(Value::as_object_mut),
                content,
            ) {
                ("context", Some(old), Value::Object(new)) => old.extend(new),
                (_, _, content) => {
                    entry.insert(key.into(), content);
                }
            },
            None => entries.push(json!({ "name": name, key: content })),
        }
    }
}

fn is_named(entry: &Value, name: &str) -> bool {
    entry.get("name").and_then(Value::as_str) == Some(name)
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn access() -> Access {
        Access {
            server: "https://127.0.0.1:45671".into(),
            ca: "CA".into(),
            certificate: "CERT".into(),
            key: "KEY".into(),
        }
    }

    const KUBECTL: &str = indoc::indoc! {r##"
        apiVersion: v1
        clusters:
        - cluster:
            certificate-authority-data: QUJD
            server: https://prod.example:6443
            x-unknown: {deep: [1, "2", 3.5, null, true]}
          name: prod
        contexts:
        - context:
            cluster: prod
            namespace: "0123"
            user: prod
          name: prod
        current-context: prod
        kind: Config
        preferences: {}
        extensions:
        - name: "yes"
          extension: {when: "2024-01-01", time: "12:30:45", no: "no", empty: "", none: "null"}
        users:
        - name: prod
          user:
            exec:
              apiVersion: client.authentication.k8s.io/v1
              args: ["--long", "a: b", "- c", "#d", " e ", "multi\nline"]
              command: aws
              env: null
              provideClusterInfo: false
    "##};

    #[test]
    fn merge_adds_three_entries_and_makes_the_context_current() {
        let mut document = Document::parse(KUBECTL).unwrap();
        document.merge("dev", &access());
        insta::assert_snapshot!(document.to_yaml().unwrap());
    }

    #[test]
    fn unmerge_takes_out_what_merge_put_in() {
        let original = Document::parse(KUBECTL).unwrap();
        let mut document = original.clone();
        document.merge("dev", &access());
        assert!(document.unmerge("dev", Some("prod")));
        assert_eq!(document, original);
        assert_eq!(
            document.as_json().keys().collect::<Vec<_>>(),
            original.as_json().keys().collect::<Vec<_>>()
        );
        assert!(
            !document.unmerge("dev", Some("prod")),
            "there is nothing left to do"
        );
    }

    #[test]
    fn writing_and_reading_changes_nothing() {
        let document = Document::parse(KUBECTL).unwrap();
        let again = Document::parse(&document.to_yaml().unwrap()).unwrap();
        assert_eq!(again, document);
    }

    #[test]
    fn merging_twice_is_merging_once_and_keeps_a_namespace() {
        let mut document = Document::default();
        document.merge("dev", &access());
        let once = document.clone();
        document.merge("dev", &access());
        assert_eq!(document, once);

        document.0["contexts"][0]["context"]["namespace"] = "mine".into();
        document.0["clusters"][0]["cluster"]["tls-server-name"] = "old".into();
        document.merge("dev", &access());
        assert_eq!(document.0["contexts"][0]["context"]["namespace"], "mine");
        assert_eq!(
            document.0["clusters"][0]["cluster"].get("tls-server-name"),
            None
        );
    }

    #[test]
    fn a_context_that_is_gone_is_not_made_current_again() {
        let mut document = Document::parse(KUBECTL).unwrap();
        document.merge("dev", &access());
        assert!(document.unmerge("dev", Some("gone")));
        assert_eq!(document.current_context(), None);
    }

    #[test]
    fn another_current_context_stays() {
        let mut document = Document::parse(KUBECTL).unwrap();
        document.merge("dev", &access());
        document.0["current-context"] = "prod".into();
        document.unmerge("dev", Some("gone"));
        assert_eq!(document.current_context(), Some("prod"));
    }

    #[test]
    fn empty_files_are_empty_kubeconfigs() {
        for text in ["", "\n", "# only a comment\n", "---\n", "null\n"] {
            assert_eq!(
                Document::parse(text).unwrap(),
                Document::default(),
                "{text:?}"
            );
        }
        assert!(Document::default().is_empty());
        let mut document = Document::default();
        document.merge("dev", &access());
        assert!(!document.is_empty());
        document.unmerge("dev", None);
        assert!(document.is_empty());
    }

    #[test]
    fn what_is_not_a_kubeconfig_is_refused_with_the_reason() {
        for (text, reason) in [
            ("[1, 2]", "a list"),
            ("just text", "a string"),
            ("kind: Pod\napiVersion: v1\n", "kind"),
            ("apiVersion: apps/v1\n", "apiVersion"),
            ("clusters: {a: b}\n", "clusters are a mapping"),
            ("users: [1]\n", "entry of its users is a number"),
            ("current-context: [a]\n", "current-context"),
            ("a: 1\na: 2\n", "line 2"),
            ("clusters: {]\n", "line 1"),
            ("a: b\n---\nc: d\n", ""),
        ] {
            let error = Document::parse(text).unwrap_err();
            assert!(error.contains(reason), "{text:?}: {error}");
            assert!(!error.contains('\n'), "{error:?}");
        }
    }

    #[test]
    fn standalone_is_what_kubectl_reads() {
        let json = serde_json::to_value(Document::standalone("dev", &access()).as_json()).unwrap();
        assert_eq!(json["current-context"], "vial-dev");
        assert_eq!(
            json["users"][0]["user"]["client-key-data"],
            STANDARD.encode("KEY")
        );
        assert_eq!(
            json["clusters"][0]["cluster"]["server"],
            "https://127.0.0.1:45671"
        );
    }

    /// Any string, with those that YAML readers stumble over made likely.
    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-z0-9-]{1,12}",
            "\\PC{0,20}",
            "[ \\n\\t:#'\"{}\\[\\]&*!|>%@`,?-]{0,8}",
            prop::sample::select(vec![
                "yes",
                "null",
                "~",
                "0123",
                "1e3",
                "0x1F",
                "1_000",
                "12:30:45",
                "2024-01-01",
                "<<",
                "=",
                ".inf",
                "-",
                "---",
                "..."
            ])
            .prop_map(str::to_owned),
        ]
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[a-zA-Z][a-zA-Z-]{0,8}", inner), 0..4)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    /// A person's kubeconfig: any entries, any further fields, an own current context.
    fn kubeconfig() -> impl Strategy<Value = Document> {
        let entries = || prop::collection::vec(("[a-z]{1,6}", value()), 0..4);
        (
            entries(),
            entries(),
            entries(),
            value(),
            prop::option::of("[a-z]{1,6}"),
        )
            .prop_map(|(a, b, c, extra, current)| {
                let mut map = Document::default().0;
                for ((list, key), entries) in LISTS.into_iter().zip([a, b, c]) {
                    let entries: Vec<Value> = entries
                        .into_iter()
                        .map(|(name, value)| json!({"extra": 1, key: value, "name": name}))
                        .collect();
                    map.insert(list.into(), entries.into());
                }
                map.insert("x-extra".into(), extra);
                let known = map["contexts"][0]["name"].as_str().map(str::to_owned);
                map.insert(
                    "current-context".into(),
                    known.or(current).unwrap_or_default().into(),
                );
                Document(map)
            })
    }

    proptest! {
        #[test]
        fn merge_then_unmerge_is_nothing(original in kubeconfig(), name in "[a-z][a-z0-9-]{0,10}") {
            let mut document = original.clone();
            let previous = document.current_context().map(str::to_owned);
            document.merge(&name, &access());
            // Through the file, as it really goes.
            let mut document = Document::parse(&document.to_yaml().unwrap()).unwrap();
            prop_assert!(document.unmerge(&name, previous.as_deref()));
            let mut expected = original.clone();
            if !previous.as_deref().is_some_and(|previous| original.has_context(previous)) {
                expected.0.insert("current-context".into(), "".into());
            }
            prop_assert_eq!(serde_json::to_string(&document.0).unwrap(), serde_json::to_string(&expected.0).unwrap());
        }

        #[test]
        fn parsing_never_panics(text in "\\PC*|[a-z:\\- \\n\\[\\]{}&*]{0,60}") {
            let _ = Document::parse(&text);
        }
    }
}
