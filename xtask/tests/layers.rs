//! Dependencies between vial's crates point down only.
//!
//! ARCHITECTURE.md draws the same order. A crate of one layer may use those of the layers below it, never its
//! neighbours: what two of them need is either a layer below, or given by one above.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

/// From the top to the bottom.
const LAYERS: &[&[&str]] = &[
    &["xtask", "vial-bench"],
    &["vial"],
    &["vial-keeper"],
    &["vial-engine"],
    &["vial-cloud", "vial-image", "vial-sandbox", "vial-guest"],
    &["vial-node", "vial-agent", "vial-sshd"],
    &[
        "vial-rpc",
        "vial-net",
        "vial-pki",
        "vial-means",
        "vial-link",
        "vial-qemu",
    ],
    &["vial-sys", "vial-spec", "vial-archive"],
    &["vial-testing"],
    &["vial-boot"],
];

/// How far down a crate is.
fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}

/// The workspace's crates and what they depend on, for builds and for tests.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let names = |value: &Value| {
        value
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            (
                package["name"].as_str().unwrap().to_owned(),
                names(&package["dependencies"]),
            )
        })
        .collect()
}

/// What is wrong with the crates' dependencies.
fn wrong(dependencies: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, needed) in dependencies {
        let Some(own) = layer(name) else {
            wrong.push(format!("{name} has no layer"));
            continue;
        };
        for needed in needed
            .iter()
            .filter(|needed| dependencies.contains_key(*needed))
        {
            if layer(needed).is_some_and(|layer| layer <= own) {
                wrong.push(format!("{name} depends on {needed}, which is not below it"));
            }
        }
    }
    wrong
}

#[test]
fn crates_depend_only_on_crates_below_them() {
    let dependencies = dependencies();
    assert!(
        dependencies["vial-engine"]
            .iter()
            .any(|name| name == "vial-spec"),
        "{dependencies:?}"
    );
    assert_eq!(wrong(&dependencies), [""; 0]);
}

#[test]
fn every_crate_of_the_order_exists() {
    let dependencies = dependencies();
    let missing: Vec<_> = LAYERS
        .iter()
        .copied()
        .flatten()
        .filter(|name| !dependencies.contains_key(**name))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_dependency_upwards_or_sideways_is_noticed() {
    let graph = |name: &str, needed: &str| {
        BTreeMap::from([
            (name.to_owned(), vec![needed.to_owned(), "tokio".to_owned()]),
            (needed.to_owned(), Vec::new()),
        ])
    };
    assert!(wrong(&graph("vial-engine", "vial-sys")).is_empty());
    for (name, needed) in [
        ("vial-sys", "vial-engine"),
        ("vial-image", "vial-sandbox"),
        ("vial-new", "vial-sys"),
    ] {
        assert_eq!(wrong(&graph(name, needed)).len(), 1, "{name} → {needed}");
    }
}
