//! House rules that are read off the source text: module docs, unsafe code, the pure planner.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// All Rust files below a directory of the repository, with their text.
fn sources(below: &str) -> Vec<(PathBuf, String)> {
    let (mut files, mut directories) = (Vec::new(), vec![root().join(below)]);
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                files.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    assert!(!files.is_empty(), "{below} has no sources");
    files
}

/// Every crate's `src`, and the chores'.
fn all() -> Vec<(PathBuf, String)> {
    let crates = std::fs::read_dir(root().join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    crates
        .map(|name| format!("crates/{name}/src"))
        .chain(["xtask/src".into()])
        .flat_map(|directory| sources(&directory))
        .collect()
}

/// A line without its comment. Cheap: `//` in a string counts as one, which hides code but accuses nobody.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// How unsafe code begins; the word alone also stands in texts and in names of flags and lints.
const UNSAFE: [&str; 6] = [
    "unsafe {",
    "unsafe fn",
    "unsafe impl",
    "unsafe trait",
    "unsafe extern",
    "unsafe(",
];

fn is_unsafe(line: &str) -> bool {
    UNSAFE
        .iter()
        .any(|beginning| code(line).contains(beginning))
}

/// Lines with unsafe code, as `FILE:LINE`.
fn unsafe_lines(files: &[(PathBuf, String)]) -> Vec<String> {
    let lines = files.iter().flat_map(|(path, text)| {
        text.lines()
            .enumerate()
            .map(move |(number, line)| (path, number, line))
    });
    lines
        .filter(|(_, _, line)| is_unsafe(line))
        .map(|(path, number, _)| format!("{}:{}", path.display(), number + 1))
        .collect()
}

#[test]
fn every_file_says_first_what_it_owns() {
    let silent: Vec<_> = all()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(path, _)| path)
        .collect();
    assert!(
        silent.is_empty(),
        "these do not open with `//!`: {silent:#?}"
    );
}

#[test]
fn only_vial_sys_has_unsafe_code() {
    let files: Vec<_> = all()
        .into_iter()
        .filter(|(path, _)| !path.starts_with("crates/vial-sys"))
        .collect();
    assert_eq!(unsafe_lines(&files), [""; 0]);
}

#[test]
fn all_unsafe_code_says_why_it_is_sound() {
    let mut silent = Vec::new();
    for (path, text) in sources("crates/vial-sys/src") {
        let lines: Vec<_> = text.lines().collect();
        for (number, line) in lines.iter().enumerate().filter(|(_, line)| is_unsafe(line)) {
            // The comment stands above the statement, which may begin a few lines earlier.
            let above = &lines[number.saturating_sub(8)..=number];
            if !above.iter().any(|line| line.contains("SAFETY:")) {
                silent.push(format!("{}:{}: {line}", path.display(), number + 1));
            }
        }
    }
    assert!(silent.is_empty(), "no `// SAFETY:` above {silent:#?}");
}

#[test]
fn the_planner_neither_reads_nor_writes_anything() {
    let plan: Vec<_> = sources("crates/vial-engine/src")
        .into_iter()
        .filter(|(path, _)| {
            path.starts_with("crates/vial-engine/src/plan") || path.ends_with("plan.rs")
        })
        .collect();
    assert!(plan.len() > 5, "the planner is somewhere else");
    for (path, text) in plan {
        // Tests may read what they compare with.
        let text = text
            .split("#[cfg(test)]\nmod tests {")
            .next()
            .unwrap_or_default();
        for outside in [
            "std::fs",
            "std::env",
            "std::process",
            "std::time",
            "std::net::Tcp",
            "tokio",
            "::now()",
            "async ",
        ] {
            let found = text.lines().map(code).any(|line| line.contains(outside));
            assert!(!found, "{} uses {outside}", path.display());
        }
    }
}

#[test]
fn unsafe_code_is_told_from_the_word() {
    for line in [
        "    let x = unsafe { f() };",
        "pub unsafe fn f() {",
        "#[unsafe(no_mangle)]",
    ] {
        assert!(is_unsafe(line), "{line}");
    }
    for line in [
        r#"args.set("unsafe-no-fsync", "true")"#,
        "#![expect(unsafe_code)]",
        "f(); // unsafe { to say }",
        "its successor is unsafe",
    ] {
        assert!(!is_unsafe(line), "{line}");
    }
}
