//! What is said about a text that is not a `vial.yaml`.

use indoc::indoc;
use vial_spec::File;

const HEAD: &str = "apiVersion: vial/v1\nkind: Cluster\n";

fn message(text: &str) -> String {
    File::parse(text, "vial.yaml").expect_err(text).to_string()
}

/// The fields after the head, which takes the lines 1 and 2.
fn fields(text: &str) -> String {
    message(&format!("{HEAD}{text}"))
}

#[test]
fn an_unknown_field_is_named_with_its_place_and_what_was_meant() {
    insta::assert_snapshot!(fields(indoc! {"
        controlPlane:
          labels: {}
        workers:
          count: 2
          lables:
            a: b
    "}), @r#"vial.yaml:7:3: unknown field "lables"; did you mean "labels"? (possible are count, labels, taints, driver, vm, mounts, files, components)"#);
    insta::assert_snapshot!(fields("worker: 2\n"), @r#"vial.yaml:3:1: unknown field "worker"; did you mean "workers"? (possible are apiVersion, kind, name, kubernetes, nodeImage, ipFamily, network, outbound, sandbox, featureGates, components, controlPlane, workers, vmWorkers, nodes, manifests, ports, etcd)"#);
    insta::assert_snapshot!(fields("network: {podCidr: 10.0.0.0/8}\n"), @r#"vial.yaml:3:11: unknown field "podCidr"; did you mean "podCIDR"? (possible are podCIDR, serviceCIDR, cni, dns)"#);
    insta::assert_snapshot!(fields("network: {mtu: 1500}\n"), @r#"vial.yaml:3:11: unknown field "mtu"; possible are podCIDR, serviceCIDR, cni, dns"#);
    insta::assert_snapshot!(fields("network: {podCIDR: 10.0.0.0/8,fd00::/16}\n"), @r#"vial.yaml:3:31: "fd00::/16" is no field; within braces, put CIDRs with commas between them in quotes"#);
    insta::assert_snapshot!(fields("etcd: {sync: true}\n"), @r#"vial.yaml:3:8: unknown field "sync"; did you mean "fsync"? (the only possible one is fsync)"#);
    insta::assert_snapshot!(fields("manifests: [{name: a, contents: b}]\n"), @r#"vial.yaml:3:23: unknown field "contents"; did you mean "content"? (possible are name, content)"#);
    insta::assert_snapshot!(fields("controlPlane: {mounts: [{hostPath: /a, nodePath: /b, readonly: true}]}\n"), @r#"vial.yaml:3:54: unknown field "readonly"; did you mean "readOnly"? (possible are hostPath, nodePath, readOnly)"#);
}

#[test]
fn an_unknown_value_is_named_with_what_is_possible() {
    insta::assert_snapshot!(fields("ipFamily: ipv5\n"), @r#"vial.yaml:3:11: unknown value "ipv5"; did you mean "ipv4"? (possible are ipv4, ipv6, dual)"#);
    insta::assert_snapshot!(fields("network:\n  cni: calico\n"), @r#"vial.yaml:4:8: unknown value "calico"; possible are bridge, none"#);
    insta::assert_snapshot!(message("apiVersion: vial/v2\nkind: Cluster\n"), @r#"vial.yaml:1:13: unknown value "vial/v2"; did you mean "vial/v1"? (the only possible one is vial/v1)"#);
    insta::assert_snapshot!(message("apiVersion: v1\nkind: Pod\n"), @r#"vial.yaml:1:13: unknown value "v1"; the only possible one is vial/v1"#);
}

#[test]
fn the_head_is_needed() {
    insta::assert_snapshot!(message("kind: Cluster\n"), @r#"vial.yaml:1:1: the field "apiVersion" is missing; write apiVersion: vial/v1"#);
    insta::assert_snapshot!(message("apiVersion: vial/v1\n"), @r#"vial.yaml:1:1: the field "kind" is missing; write kind: Cluster"#);
    insta::assert_snapshot!(message(""), @"vial.yaml: it is empty; write apiVersion: vial/v1, kind: Cluster and what you want to change");
    insta::assert_snapshot!(message("# nothing\n"), @"vial.yaml: it is empty; write apiVersion: vial/v1, kind: Cluster and what you want to change");
}

#[test]
fn a_value_of_the_wrong_type_is_named_with_the_right_one() {
    insta::assert_snapshot!(fields("workers: many\n"), @r#"vial.yaml:3:1: found the text "many", expected a number of workers or a mapping with count, labels, taints, driver, vm, mounts, files, components"#);
    insta::assert_snapshot!(fields("workers: -1\n"), @"vial.yaml:3:1: found the number -1, expected a number of workers or a mapping with count, labels, taints, driver, vm, mounts, files, components");
    insta::assert_snapshot!(fields("workers: [1]\n"), @"vial.yaml:3:1: found a list, expected a number of workers or a mapping with count, labels, taints, driver, vm, mounts, files, components");
    insta::assert_snapshot!(fields("workers: {count: x}\n"), @"vial.yaml:3:18: expected a whole number that is not negative");
    insta::assert_snapshot!(fields("etcd: {fsync: maybe}\n"), @"vial.yaml:3:15: expected true or false");
    insta::assert_snapshot!(fields("nodes: [w-1]\n"), @r#"vial.yaml:3:8: expected a mapping, as in "field: value""#);
    insta::assert_snapshot!(fields("controlPlane:\n  labels: [a]\n"), @r#"vial.yaml:4:11: expected a mapping, as in "field: value""#);
    insta::assert_snapshot!(fields("network: {podCIDR: {v4: 10.0.0.0/8}}\n"), @"vial.yaml:3:20: found a mapping, expected CIDRs separated by commas or a list of them");
    insta::assert_snapshot!(fields("components: {kubelet: {args: {v: [1]}}}\n"), @"vial.yaml:3:34: expected a text");
    insta::assert_snapshot!(fields("components: {kubelet: {config: text}}\n"), @r#"vial.yaml:3:32: expected a mapping, as in "field: value""#);
    insta::assert_snapshot!(fields("workers: {files: [{content: x}]}\n"), @r#"vial.yaml:3:20: the field "path" is missing"#);
    insta::assert_snapshot!(fields("featureGates: {A: 1}\n"), @"vial.yaml:3:19: expected true or false");
    insta::assert_snapshot!(fields("featureGates: {A: \"yes\"}\n"), @"vial.yaml:3:19: expected true or false");
    insta::assert_snapshot!(message("just text\n"), @r#"vial.yaml:1:1: expected a mapping, as in "field: value""#);
    insta::assert_snapshot!(message("- a\n- b\n"), @r#"vial.yaml:1:1: expected a mapping, as in "field: value""#);
}

#[test]
fn broken_yaml_is_placed() {
    insta::assert_snapshot!(fields("workers: 2\nworkers: 3\n"), @r#"vial.yaml:4:1: the field "workers" is there twice"#);
    insta::assert_snapshot!(fields("workers: [2\n"), @"vial.yaml:3:1: found a list, expected a number of workers or a mapping with count, labels, taints, driver, vm, mounts, files, components");
    insta::assert_snapshot!(fields("network:\n\tcni: none\n"), @"vial.yaml:4:2: tabs disallowed within this context (block indentation)");
    insta::assert_snapshot!(fields("name: \"dev\n"), @"vial.yaml:4:1: invalid indentation in multiline quoted scalar");
    insta::assert_snapshot!(fields("name: dev\n---\nname: prod\n"), @"vial.yaml:5:1: there is more than one document, one file describes one cluster");
    insta::assert_snapshot!(fields("name: *anchor\n"), @"vial.yaml:3:7: reference to unknown value");
    insta::assert_snapshot!(fields("name: [dev]\n"), @"vial.yaml:3:7: expected a text");
}

#[test]
fn the_parts_of_an_error_can_be_had_singly() {
    let error = File::parse(&format!("{HEAD}worker: 2\n"), "vial.yaml").unwrap_err();
    assert_eq!((error.line, error.column), (3, 1));
    assert_eq!(error.message, r#"unknown field "worker""#);
    assert!(
        error
            .hint
            .unwrap()
            .starts_with(r#"did you mean "workers"?"#)
    );
}

#[test]
fn empty_groups_are_allowed() {
    for text in [
        "controlPlane:\n",
        "workers:\n",
        "components:\n",
        "network:\n",
        "nodes:\n  w-1:\n",
        "etcd:\n",
    ] {
        let file = File::parse(&format!("{HEAD}{text}"), "vial.yaml");
        file.unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}
