//! `docs/examples/vial.yaml` shows every field and is a cluster; the committed schema is the present one's.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use serde_json::Value;
use vial_spec::{File, Overrides, Role};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

fn example() -> String {
    std::fs::read_to_string(docs().join("examples/vial.yaml")).unwrap()
}

/// The names of all fields in a schema, at any depth.
fn fields(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::Object(properties)) = object.get("properties") {
                found.extend(properties.keys().cloned());
            }
            object.values().for_each(|value| fields(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| fields(value, found)),
        _ => {}
    }
}

#[test]
fn the_example_shows_every_field() {
    let text = example();
    let mut names = Vec::new();
    fields(&vial_spec::file::schema(), &mut names);
    assert!(names.len() > 30, "{names:?}");
    for name in names {
        assert!(
            text.contains(&format!("{name}:")),
            "docs/examples/vial.yaml does not show {name}"
        );
    }
}

#[test]
fn the_example_is_a_cluster() {
    let file = File::parse(&example(), "docs/examples/vial.yaml").unwrap();
    let read = |path: &Path| std::fs::read_to_string(docs().join("examples").join(path));
    let spec = file
        .validate(&Overrides::default(), &read)
        .unwrap_or_else(|errors| panic!("{errors}"));

    assert_eq!(
        (spec.name.as_str(), spec.node_image.as_str()),
        ("dev", "vial/node:v1.36.3")
    );
    let names: Vec<_> = spec
        .nodes
        .iter()
        .map(|node| (node.name.as_str(), node.role))
        .collect();
    assert_eq!(
        names,
        [
            ("cp-1", Role::ControlPlane),
            ("w-1", Role::Worker),
            ("w-2", Role::Worker),
            ("w-3", Role::Worker),
            ("w-4", Role::Worker)
        ]
    );
    let zone = |node: &str| spec.node(node).unwrap().labels["example.com/zone"].clone();
    assert_eq!(
        (zone("cp-1"), zone("w-1"), zone("w-2")),
        ("a".into(), "b".into(), "c".into())
    );
    assert_eq!(spec.manifests.len(), 2);
    let file = &spec.node("w-1").unwrap().files[0];
    assert_eq!(
        (file.path.as_str(), file.content.as_str()),
        ("/etc/motd", "A worker of a vial cluster.\n")
    );
    assert_eq!(
        spec.components["kube-scheduler"].args["v"].as_deref(),
        Some("4")
    );
    assert_eq!(spec.components["kube-scheduler"].args["leader-elect"], None);
    assert_eq!(spec.components["kubelet"].config["maxPods"], 50);
}
