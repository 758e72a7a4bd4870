//! Bad input: one clear error, its exit code, nothing changed.

use crate::lab::{Host, Lab};

#[test]
fn bad_input_is_refused_before_anything_is_made() {
    let lab = Lab::new(&["bad"]);
    let file = |content: &str| lab.file("bad.yaml", content);
    let head = "apiVersion: vial/v1\nkind: Cluster\n";
    let cases: Vec<(Vec<String>, i32, &str)> = vec![
        (vec!["up".into(), "Bad_Name".into()], 2, "Bad_Name"),
        (
            vec!["up".into(), "bad".into(), "--workers".into(), "21".into()],
            2,
            "20",
        ),
        (
            vec![
                "up".into(),
                "bad".into(),
                "--kubernetes".into(),
                "v1.2.3".into(),
            ],
            2,
            "v1.36.3",
        ),
        (
            vec![
                "up".into(),
                "bad".into(),
                "-f".into(),
                file(&format!("{head}lables: {{}}\n")),
            ],
            2,
            "bad.yaml:3:1",
        ),
        (
            vec![
                "up".into(),
                "bad".into(),
                "-f".into(),
                "/nonexistent.yaml".into(),
            ],
            3,
            "/nonexistent.yaml",
        ),
        (vec!["status".into(), "nobody".into()], 3, "nobody"),
        (
            vec![
                "exec".into(),
                "-c".into(),
                "nobody".into(),
                "w-1".into(),
                "--".into(),
                "true".into(),
            ],
            3,
            "nobody",
        ),
        (
            vec![
                "up".into(),
                "bad".into(),
                "--node-image".into(),
                "other/image:1".into(),
            ],
            3,
            "other/image:1",
        ),
    ];
    for (args, code, named) in cases {
        let ran = lab.vial(&args);
        assert_eq!(ran.code, code, "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(named), "{args:?}: {}", ran.stderr);
        assert!(ran.stdout.is_empty(), "{args:?}: {}", ran.stdout);
    }
    let overlap = file(&format!(
        "{head}network: {{podCIDR: 10.96.0.0/16, serviceCIDR: 10.96.0.0/16}}\nipFamily: ipv4\n"
    ));
    let ran = lab.vial(["up", "bad", "-f", &overlap]);
    assert!(ran.code == 2 && ran.stderr.contains("overlap"), "{ran:?}");
    lab.assert_nothing_left();
    lab.before().assert_same(&Host::look());
}

#[test]
fn an_unknown_node_is_named_with_a_near_one() {
    let lab = Lab::up("near", &["--workers", "1"]);
    let ran = lab.exec("near", "w-2", &["true"]);
    assert!(ran.code == 3 && ran.stderr.contains("w-1"), "{ran:?}");
}
