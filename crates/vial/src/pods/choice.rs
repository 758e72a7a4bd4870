//! Which of the pods that are there a command means: by names, ranges and globs.

use clap::Args;
use vial_cloud::names;
use vial_cloud::pods::{self, PodView, Scope};

use super::place::Place;
use crate::error::{Code, Error, Result};
use crate::near;

/// The words of the person.
#[derive(Debug, Args)]
pub(crate) struct ChoiceArgs {
    /// Names, ranges as dp-test[01-10], globs as 'dp-*'
    #[arg(value_name = "NAME", required_unless_present = "all")]
    pub(crate) names: Vec<String>,
    /// All of the namespace
    #[arg(long, conflicts_with = "names")]
    pub(crate) all: bool,
}

impl ChoiceArgs {
    /// The pods that are meant.
    ///
    /// # Errors
    /// When one that is named is not there; near names are told.
    pub(crate) async fn find(&self, place: &Place) -> Result<Vec<PodView>> {
        let scope = Scope::Namespace(place.namespace.clone());
        let there = pods::list(&place.cloud, &scope).await?;
        if self.all {
            return Ok(there);
        }
        choose(&self.names, there, &place.namespace)
    }
}

/// One pod, by its name.
///
/// # Errors
/// As [`ChoiceArgs::find`].
pub(crate) async fn one(place: &Place, name: &str) -> Result<PodView> {
    names::check(name)?;
    let scope = Scope::Namespace(place.namespace.clone());
    let there = pods::list(&place.cloud, &scope).await?;
    let mut found = choose(&[name.to_owned()], there, &place.namespace)?;
    found
        .pop()
        .ok_or_else(|| Error::new(Code::NotFound, format!("there is no pod {name}")))
}

fn choose(words: &[String], there: Vec<PodView>, namespace: &str) -> Result<Vec<PodView>> {
    let mut chosen: Vec<PodView> = Vec::new();
    for word in words {
        if word.contains(['*', '?']) {
            let fitting = there.iter().filter(|pod| names::matches(word, &pod.name));
            chosen.extend(fitting.cloned());
            continue;
        }
        for name in names::expand(&[word], None)? {
            let Some(pod) = there.iter().find(|pod| pod.name == name) else {
                let message = format!("namespace {namespace} has no pod {name}");
                let known = there.iter().map(|pod| pod.name.as_str());
                return Err(
                    Error::new(Code::NotFound, message).hint(near::hint("pod", &name, known))
                );
            };
            chosen.push(pod.clone());
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    chosen.retain(|pod| seen.insert(pod.name.clone()));
    Ok(chosen)
}
