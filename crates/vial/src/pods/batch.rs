//! A batch of pods: what `vial pod create -f pods.yaml` reads.
//!
//! ```yaml
//! name: lab                      # what belongs together; the file's name, when it is left out
//! namespace: lab
//! defaults: {image: debian, user: ann}
//! pods:
//!   dp-test[01-03]: {cpu: 500m}
//!   web: {image: nginx, ports: [80]}
//! ```
//! What the file names is made or changed; what came with the batch before and is not named any more is removed.

use std::io::IsTerminal as _;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};
use vial_cloud::execute::Wish;
use vial_cloud::plan::PodOptions;
use vial_cloud::pods::PodView;
use vial_cloud::{names, words};

use super::place::{PlaceArgs, host_part};
use super::wish;
use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::{terminal, wanted};

/// A batch, read.
#[derive(Debug)]
pub(crate) struct Batch {
    name: String,
    namespace: Option<String>,
    /// The pods, in the order of the file.
    pub(crate) wishes: Vec<Wish>,
}

/// What a batch does to what is there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Preview {
    made: Vec<String>,
    kept: Vec<String>,
    /// Those that go.
    pub(crate) removed: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    name: Option<String>,
    namespace: Option<String>,
    #[serde(default)]
    defaults: Map<String, Value>,
    pods: Map<String, Value>,
}

/// Reads a batch; `-` is standard input.
///
/// # Errors
/// When it cannot be read, or something in it cannot be right.
pub(crate) fn read(file: &Path) -> Result<Batch> {
    let (text, shown, directory) = wanted::read(file)?;
    let stem = (file.to_str() != Some(wanted::STDIN))
        .then(|| file.file_stem())
        .flatten()
        .map(|stem| stem.to_string_lossy().into_owned());
    parse(&text, stem, &directory)
        .map_err(|error| error.while_doing(&format!("{shown} is not right")))
}

fn parse(text: &str, stem: Option<String>, directory: &Path) -> Result<Batch> {
    let bad = |why: String| Error::new(Code::BadInput, why);
    let read: File = serde_saphyr::from_str(text)
        .map_err(|error| bad(crate::error::chain(error.without_snippet())))?;
    let name = read
        .name
        .or(stem.map(|stem| host_part(&stem)))
        .unwrap_or_else(|| "batch".into());
    names::check(&name).map_err(|error| bad(format!("the batch's name: {error}")))?;
    let mut wishes: Vec<Wish> = Vec::new();
    for (word, value) in read.pods {
        let own = match value {
            Value::Null => Map::new(),
            Value::Object(map) => map,
            _ => return Err(bad(format!("pods.{word} is not a mapping"))),
        };
        let mut merged = read.defaults.clone();
        merged.extend(own);
        let options = options(merged, directory)
            .map_err(|error| error.while_doing(&format!("pods.{word}")))?;
        for name_of_pod in names::expand(&[&word], None)? {
            if wishes.iter().any(|wish| wish.name == name_of_pod) {
                return Err(bad(format!("pod {name_of_pod} is named twice")));
            }
            wishes.push(Wish {
                name: name_of_pod,
                options: options.clone(),
                batch: Some(name.clone()),
            });
        }
    }
    Ok(Batch {
        name,
        namespace: read.namespace,
        wishes,
    })
}

/// `secrets` and `configs` are lists of files, beside the batch's own when they are not absolute.
fn options(mut map: Map<String, Value>, directory: &Path) -> Result<PodOptions> {
    let mut lists = Vec::new();
    for field in ["secrets", "configs"] {
        let list = map.remove(field).unwrap_or(Value::Array(Vec::new()));
        let paths: Vec<String> = serde_json::from_value(list)
            .map_err(|_| Error::new(Code::BadInput, format!("{field} is not a list of files")))?;
        let beside = |item: String| match item.split_once('=') {
            Some((name, path)) => format!("{name}={}", directory.join(path).display()),
            None => directory.join(item).display().to_string(),
        };
        let paths: Vec<String> = paths.into_iter().map(beside).collect();
        lists.push(wish::files(&paths)?);
    }
    let mut options: PodOptions = serde_json::from_value(Value::Object(map))
        .map_err(|error| Error::new(Code::BadInput, error.to_string()))?;
    options.configs = lists.pop().unwrap_or_default();
    options.secrets = lists.pop().unwrap_or_default();
    wish::resolve_keys(&mut options)?;
    options.check()?;
    Ok(options)
}

impl Batch {
    /// The file may name the namespace; a flag counts more.
    pub(crate) fn place(&self, args: &PlaceArgs) -> PlaceArgs {
        let mut args = args.clone();
        if let Some(namespace) = &self.namespace
            && args.namespace == words::NAMESPACE
        {
            args.namespace.clone_from(namespace);
        }
        args
    }

    /// What it does to what is there.
    pub(crate) fn preview(&self, there: &[PodView]) -> Preview {
        let is_there = |name: &str| there.iter().any(|pod| pod.name == name);
        let (kept, made) = (self.wishes.iter())
            .map(|wish| wish.name.clone())
            .partition(|name| is_there(name));
        let own = there
            .iter()
            .filter(|pod| pod.batch.as_ref() == Some(&self.name));
        let removed = own
            .filter(|pod| !self.wishes.iter().any(|wish| wish.name == pod.name))
            .map(|pod| pod.name.clone());
        Preview {
            made,
            kept,
            removed: removed.collect(),
        }
    }
}

impl Preview {
    /// For people, before it is done.
    pub(crate) fn lines(&self) -> Vec<String> {
        [
            ("+ make  ", &self.made),
            ("= keep  ", &self.kept),
            ("- remove", &self.removed),
        ]
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("{what} {}", names.join(" ")))
        .collect()
    }
}

/// Asks at a terminal whether pods may go; a script is believed.
pub(crate) fn agreed(context: &Context, names: &[String]) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Ok(true);
    }
    let answer = terminal::ask(&context.ui, &format!("remove {}? [y/N] ", names.join(", ")))?;
    Ok(["y", "yes"].contains(&answer.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "namespace: lab\ndefaults: {image: debian, user: ann}\npods:\n  dp[1-2]: {cpu: 500m}\n  web: {image: nginx, ports: [80]}\n  plain:\n";

    fn batch(text: &str) -> Result<Batch> {
        parse(text, Some("My Lab".into()), Path::new("/nowhere"))
    }

    #[test]
    fn defaults_hold_unless_a_pod_says_otherwise() {
        let batch = batch(TEXT).unwrap();
        let told: Vec<String> = (batch.wishes.iter())
            .map(|wish| format!("{} {}", wish.name, wish.options.asked()))
            .collect();
        let expected = [
            r#"dp1 {"image":"debian","user":"ann","cpu":"500m"}"#,
            r#"dp2 {"image":"debian","user":"ann","cpu":"500m"}"#,
            r#"web {"image":"nginx","user":"ann","ports":["80"]}"#,
            r#"plain {"image":"debian","user":"ann"}"#,
        ];
        assert_eq!(told, expected);
        assert_eq!(batch.wishes[0].batch.as_deref(), Some("my-lab"));
    }

    #[test]
    fn what_is_not_named_any_more_goes_and_nothing_else() {
        let pod = |name: &str, batch: Option<&str>| -> PodView {
            let service = serde_json::from_value(
                serde_json::json!({"metadata": {"name": name, "labels": {"vial.dev/pod": name, "vial.dev/batch": batch}}}),
            );
            let mut view = PodView::of(&service.unwrap_or_default(), None, &[]);
            view.name = name.to_owned();
            view.batch = batch.map(str::to_owned);
            view
        };
        let there = [
            pod("web", Some("my-lab")),
            pod("old", Some("my-lab")),
            pod("other", Some("x")),
            pod("free", None),
        ];
        let preview = batch(TEXT).unwrap().preview(&there);
        assert_eq!(preview.removed, ["old"]);
        assert_eq!(preview.kept, ["web"]);
        assert_eq!(preview.made, ["dp1", "dp2", "plain"]);
    }

    #[test]
    fn what_cannot_be_right_is_refused() {
        for text in [
            "",
            "pods: 1",
            "pods: {a: 1}",
            "pods: {A: {}}",
            "pods: {a: {imag: x}}",
            "pods: {'a[1-2]': {}, a1: {}}",
            "pods: {a: {cpu: lots}}",
            "name: A B\npods: {}",
            "pods: {a: {secrets: [missing]}}",
            "pods: {a: {ttl: soon}}",
        ] {
            assert!(batch(text).is_err(), "{text}");
        }
    }
}
