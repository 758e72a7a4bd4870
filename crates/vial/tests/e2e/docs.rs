//! The pages of `docs/`: what they say is typed, and what they show is seen.
//!
//! ```text
//! page ──read (pure)──► files, commands ──one bash, in a network of its own──► output of each ──compare (pure)──► shown
//! ```
//! A page is one story, told to one shell: variables and directories stay from command to command, and the host's ports
//! are free. It makes its clusters itself, and removes them at its end. What counts in it:
//!
//! - ` ```console `: lines that begin with `# ` are commands, `> ` goes on with one. Lines below are what it prints, in
//!   this order; it may print more. `…` stands for anything. Where a line begins with `error:` it has to fail.
//! - ` ```yaml web.yaml `: a file of that name.
//!
//! A page is added by a test that names it; [`every_page_with_commands_is_run`] sees to it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::crane::crane;
use crate::lab::Lab;
use crate::world::World;

#[test]
fn registry_and_images() {
    crane();
    // The page has no network to fetch packages by.
    crate::base_image::cached(&Lab::new(&[]), &["--packages", "sudo", "--init"]);
    run("registry-and-images.md");
}

#[test]
fn ports_and_services() {
    run("ports-and-services.md");
}

#[test]
fn ssh_and_files() {
    run("ssh-and-files.md");
}

#[test]
fn the_life_of_a_node() {
    run("nodes.md");
}

#[test]
fn nodes_that_are_virtual_machines() {
    run("vm-nodes.md");
}

#[test]
fn freeze_thaw_fork() {
    run("freeze.md");
}

#[test]
fn what_happened() {
    run("events.md");
}

#[test]
fn what_programs_say() {
    run("logs.md");
}

#[test]
fn a_bug_report() {
    run("diagnose.md");
}

/// The page writes into `~/.ssh`, which is therefore an empty one of its own.
#[test]
fn a_mini_cloud() {
    let home = std::env::var("HOME").expect("a home directory");
    fs::create_dir_all(format!("{home}/.ssh")).expect("made");
    let own = format!("mount -t tmpfs -o mode=700 own {home}/.ssh && exec \\\"\\$@\\\"");
    let host = [
        "unshare",
        "--net",
        "--mount",
        "sh",
        "-c",
        &format!("\"{own}\""),
        "sh",
    ];
    run_on("mini-cloud.md", &host.map(str::to_owned));
}

#[test]
fn the_outside_world() {
    let world = World::apart();
    world.connect();
    run_on("outside-world.md", &world.host());
}

/// Types all that a page says, in a network of its own.
#[track_caller]
fn run(name: &str) {
    run_on(name, &["unshare".into(), "--net".into()]);
}

/// Types all that a page says on a host, to which these words lead.
#[track_caller]
fn run_on(name: &str, host: &[String]) {
    let page = Page::read(&fs::read_to_string(docs().join(name)).expect("a page"));
    let clusters = page.clusters();
    let lab = Lab::new(&clusters.iter().map(String::as_str).collect::<Vec<_>>());
    for (name, content) in &page.files {
        lab.file(name, content);
    }
    let script = lab.file(".script", &page.script());
    // Longer than any page takes; a command that hangs must not hang all tests.
    let shell = format!("timeout 600 {} bash --norc $1", host.join(" "));
    let ran = lab.shell(&shell, &[&script]);
    let mut outputs = ran.stdout.split(MARK);
    for command in &page.commands {
        let typed = &command.typed;
        let output = outputs.next().unwrap_or_default();
        let code = outputs.next().and_then(|code| code.parse::<i32>().ok());
        let code = code.unwrap_or_else(|| panic!("{name}: {typed}: did not end:\n{output}"));
        let as_said = (code != 0) == command.fails();
        assert!(as_said, "{name}: {typed}: exit code {code}:\n{output}");
        if let Err(line) = command.compare(output) {
            panic!("{name}: {typed}: {line:?} is not in:\n{output}");
        }
    }
    lab.assert_nothing_left();
}

#[test]
fn every_page_with_commands_is_run() {
    let pages = fs::read_dir(docs()).expect("pages").flatten();
    for page in pages.filter(|page| page.path().extension().is_some_and(|end| end == "md")) {
        let commands = Page::read(&fs::read_to_string(page.path()).expect("a page")).commands;
        let name = page.file_name().to_string_lossy().into_owned();
        let calls = [format!("run({name:?})"), format!("run_on({name:?}, ")];
        let run = calls
            .iter()
            .any(|call| include_str!("docs.rs").contains(call));
        assert!(commands.is_empty() || run, "no test runs {name}");
    }
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

/// Stands around the exit code of each command.
const MARK: &str = "\u{1}";

/// What of a page can be tried.
#[derive(Default)]
struct Page {
    files: Vec<(String, String)>,
    commands: Vec<Typed>,
}

/// A command, and what it shall print.
#[derive(Debug, PartialEq)]
struct Typed {
    typed: String,
    shown: Vec<String>,
}

impl Page {
    fn read(text: &str) -> Self {
        let mut page = Self::default();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let Some(info) = line.strip_prefix("```") else {
                continue;
            };
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            match info.split_whitespace().collect::<Vec<_>>().as_slice() {
                ["console"] => page.commands.extend(commands(&block)),
                [_, name] => page.files.push(((*name).into(), block.join("\n") + "\n")),
                _ => {}
            }
        }
        page
    }

    /// Those that it makes.
    fn clusters(&self) -> Vec<String> {
        let words = |command: &Typed| {
            let words: Vec<String> = command.typed.split_whitespace().map(Into::into).collect();
            words
        };
        let all = self.commands.iter().map(words);
        let ups = all.filter(|words| words.starts_with(&["vial".into(), "up".into()]));
        let mut names: Vec<String> = ups.filter_map(|words| words.get(2).cloned()).collect();
        names.retain(|name| !name.starts_with('-'));
        names.sort();
        names.dedup();
        names
    }

    /// Prints the exit code of every command, between marks.
    fn script(&self) -> String {
        let mut script = "exec 2>&1\ncd \"$(dirname \"$0\")\"\nip link set lo up\n".to_owned();
        for command in &self.commands {
            script += &format!("{}\nprintf '{MARK}%d{MARK}' $?\n", command.typed);
        }
        script
    }
}

fn commands(block: &[&str]) -> Vec<Typed> {
    let mut commands: Vec<Typed> = Vec::new();
    for line in block {
        if let Some(typed) = line.strip_prefix("# ") {
            commands.push(Typed {
                typed: typed.to_owned(),
                shown: Vec::new(),
            });
        } else if let Some(command) = commands.last_mut() {
            match line.strip_prefix("> ") {
                Some(more) => command.typed += &format!("\n{more}"),
                None => command.shown.push((*line).to_owned()),
            }
        }
    }
    commands
}

impl Typed {
    fn fails(&self) -> bool {
        self.shown.iter().any(|line| line.starts_with("error:"))
    }

    /// The shown lines are in the output, in order; the first that is not, otherwise.
    fn compare(&self, output: &str) -> Result<(), String> {
        let mut printed = output.lines();
        for shown in self.shown.iter().filter(|line| line.trim() != "…") {
            if !printed.any(|line| matches(shown, line)) {
                return Err(shown.clone());
            }
        }
        Ok(())
    }
}

/// `…` is anything, and how many spaces there are says nothing: tables are as wide as what is in them.
fn matches(shown: &str, printed: &str) -> bool {
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (shown, printed) = (plain(shown), plain(printed));
    let mut parts = shown.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = printed.strip_prefix(first) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    true
}

#[test]
fn a_page_is_read_as_it_is_meant() {
    let page = Page::read(
        "Text\n```yaml a.yaml\nkind: A\n```\n```\n# not this\n```\n```console\n# vial up one\n✓ …\n# cat <<E\n> b\n> E\nb\n```\n",
    );
    assert_eq!(page.files, [("a.yaml".into(), "kind: A\n".into())]);
    assert_eq!(page.clusters(), ["one"]);
    let [up, cat] = page.commands.as_slice() else {
        panic!("{:?}", page.commands)
    };
    assert_eq!(
        (up.typed.as_str(), cat.typed.as_str()),
        ("vial up one", "cat <<E\nb\nE")
    );
    assert_eq!(up.compare("· step\n✓ up (1.2s)\n"), Ok(()));
    assert_eq!(up.compare("error: no\n"), Err("✓ …".into()));
    assert!(matches(
        "port  127.0.0.1:…  open",
        "port 127.0.0.1:80   open"
    ));
    assert!(!matches(
        "port 127.0.0.1:… open",
        "port 127.0.0.1:80 waiting"
    ));
    assert!(!matches("a", "a b") && !matches("… b", "a b c"));
}
