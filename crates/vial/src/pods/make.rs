//! Making pods, as `create` and `create -f` do it.
//!
//! ```text
//!  look at all ─► refuse what cannot be ─► make all at once ─► wait for all ─► ready
//!                 (nothing was changed)         └─ those that fail go again ─┘
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use serde_json::Value;
use vial_cloud::execute::{self, Before, Keys, Progress, Waiting, Wish};
use vial_cloud::plan::{Identity, Means};
use vial_cloud::{Error as CloudError, Kind};

use super::place::Place;
use crate::context::Context;
use crate::error::{Code, Error, Result};
use crate::interrupt;
use crate::ui::Progress as Steps;

/// How to make them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How {
    /// What was asked for otherwise before is changed.
    pub(crate) replace: bool,
    /// What fails is kept, to be looked at.
    pub(crate) keep: bool,
    /// How long to wait; `None`: not at all.
    pub(crate) wait: Option<Duration>,
    /// The namespace is made when it is not there.
    pub(crate) create_namespace: bool,
}

/// One pod that is made.
#[derive(Clone)]
struct One {
    wish: Wish,
    before: Before,
    identity: Identity,
}

/// Makes pods; returns the names of those that are ready.
///
/// # Errors
/// What is wrong with one of them; the others are made all the same once making began.
pub(crate) async fn make(
    context: &Context,
    place: &Place,
    wishes: Vec<Wish>,
    means: Means,
    keys: &Keys,
    how: How,
) -> Result<Vec<String>> {
    let ones = look(place, wishes, keys, how).await?;
    let mut steps = context.ui.progress();
    let made = tokio::select! {
        made = make_all(place, &ones, means, how, &mut steps) => made,
        () = interrupt::signal() => {
            steps.end(true);
            return Err(Error::new(Code::Interrupted, "interrupted; what was made so far is there")
                .hint("the same command finishes it, `vial pod rm` removes it"));
        }
    };
    if made.is_err() {
        steps.end(true);
    }
    made
}

/// Looks at what is there, and refuses before anything is made what cannot be.
async fn look(place: &Place, wishes: Vec<Wish>, keys: &Keys, how: How) -> Result<Vec<One>> {
    for wish in &wishes {
        wish.options
            .check()
            .map_err(|error| Error::from(error).while_doing(&format!("pod {}", wish.name)))?;
    }
    execute::check_nodes(
        &place.cloud,
        wishes.iter().filter_map(|wish| wish.options.on.as_deref()),
    )
    .await?;
    let befores = wishes
        .iter()
        .map(|wish| Before::look(&place.cloud, &place.namespace, &wish.name));
    let befores = try_join_all(befores).await?;
    let mut ones = Vec::new();
    for (wish, before) in wishes.into_iter().zip(befores) {
        let differences = before.differences(&wish.options);
        if !differences.is_empty() && !how.replace {
            let name = &wish.name;
            let error = Error::new(
                Code::Conflict,
                format!("pod {name} is there already, and was asked for otherwise"),
            );
            let error = differences.iter().fold(error, Error::detail);
            return Err(error.hint(format!(
                "--replace changes it; `vial pod rm {name}` removes it"
            )));
        }
        let identity = before.identity(&wish, keys)?;
        ones.push(One {
            wish,
            before,
            identity,
        });
    }
    Ok(ones)
}

/// What would be made: objects of Kubernetes, in the order in which they would be.
pub(crate) async fn plan(
    place: &Place,
    wishes: Vec<Wish>,
    means: &Means,
    keys: &Keys,
) -> Result<Vec<Value>> {
    let how = How {
        replace: true,
        keep: true,
        wait: None,
        create_namespace: true,
    };
    let mut all = Vec::new();
    for one in look(place, wishes, keys, how).await? {
        let objects = execute::objects(&place.namespace, &one.wish, &one.identity, means, false);
        all.push(objects.service);
        all.extend(objects.others);
        all.extend(objects.timer.map(|timer| timer.job));
    }
    Ok(all)
}

async fn make_all(
    place: &Place,
    ones: &[One],
    means: Means,
    how: How,
    steps: &mut Steps,
) -> Result<Vec<String>> {
    let (cloud, namespace) = (&place.cloud, place.namespace.as_str());
    let new_namespace = execute::ensure_namespace(cloud, namespace, how.create_namespace).await?;
    if let Means::Parts(parts) = &means {
        steps.started(
            "sshd",
            "bring the ssh server into the namespace",
            None,
            steps.now_us(),
        );
        execute::make_parts(cloud, namespace, parts).await?;
        steps.finished("sshd", steps.now_us());
    }
    let running = match how.wait {
        Some(_) => execute::running(cloud, namespace).await?,
        None => BTreeMap::new(),
    };
    for one in ones {
        steps.started(
            &one.wish.name,
            &format!("make pod {}", one.wish.name),
            None,
            steps.now_us(),
        );
    }
    let made = join_all(
        ones.iter()
            .map(|one| execute::make(cloud, namespace, &one.wish, &one.identity, &means, false)),
    )
    .await;
    let mut failed: Vec<(String, CloudError)> = Vec::new();
    let mut waiting = Vec::new();
    for (one, made) in ones.iter().zip(made) {
        match made {
            Ok(()) => {
                let changed =
                    one.before.exists() && !one.before.differences(&one.wish.options).is_empty();
                let old = running.get(&one.wish.name).cloned().unwrap_or_default();
                waiting.push(Waiting {
                    name: one.wish.name.clone(),
                    image: one.wish.options.image.clone().unwrap_or_default(),
                    old: if changed { old } else { Vec::new() },
                });
            }
            Err(error) => failed.push((one.wish.name.clone(), error)),
        }
    }
    let mut ready = Vec::new();
    let mut late = None;
    match how.wait {
        None => ready.extend(waiting.into_iter().map(|one| {
            steps.finished(&one.name, steps.now_us());
            one.name
        })),
        Some(timeout) => {
            let remade: Arc<Mutex<Vec<(String, CloudError)>>> = Arc::default();
            let waited = execute::wait_ready(cloud, namespace, waiting, timeout, |progress| {
                match progress {
                    Progress::Ready(name) => {
                        steps.finished(&name, steps.now_us());
                        ready.push(name);
                    }
                    Progress::Failed(name, error) => failed.push((name, error)),
                    Progress::State(name, text) => steps.detail(&name, &text),
                    Progress::NoEntry(name, why) => {
                        let one = ones.iter().find(|one| one.wish.name == name);
                        let Some(one) = one.filter(|one| one.wish.options.command.is_empty())
                        else {
                            let error = CloudError::new(
                                Kind::Failed,
                                format!("what was to run in pod {name} ended"),
                            );
                            failed.push((
                                name,
                                error.hinted("run something that stays, or `--no-entry`"),
                            ));
                            return false;
                        };
                        steps.note(&format!(
                            "pod {name}: {why}; only the ssh server runs in it"
                        ));
                        let (one, place, means, remade) =
                            (one.clone(), place.clone(), means.clone(), remade.clone());
                        tokio::spawn(async move {
                            let made = execute::make(
                                &place.cloud,
                                &place.namespace,
                                &one.wish,
                                &one.identity,
                                &means,
                                true,
                            )
                            .await;
                            if let Err(error) = made {
                                remade
                                    .lock()
                                    .unwrap_or_else(PoisonError::into_inner)
                                    .push((one.wish.name, error));
                            }
                        });
                    }
                }
                true
            })
            .await;
            failed.append(&mut remade.lock().unwrap_or_else(PoisonError::into_inner));
            late = waited.err();
        }
    }
    if failed.is_empty() && late.is_none() {
        return Ok(ready);
    }
    steps.end(true);
    // What did not come in time may still come: it stays. What cannot come goes, unless it was there before.
    let new: Vec<String> = failed
        .iter()
        .filter(|(name, _)| {
            ones.iter()
                .any(|one| one.wish.name == *name && !one.before.exists())
        })
        .map(|(name, _)| name.clone())
        .collect();
    let mut said = Vec::new();
    for (name, _) in &failed {
        said.extend(execute::last_words(cloud, namespace, name).await);
    }
    let mut left = None;
    if !how.keep && !new.is_empty() {
        left = undo(
            place,
            &new,
            new_namespace && ready.is_empty() && late.is_none(),
        )
        .await
        .err();
    }
    Err(said
        .into_iter()
        .fold(tell(failed, late, left), Error::detail))
}

async fn undo(place: &Place, names: &[String], with_namespace: bool) -> Result<(), CloudError> {
    let (cloud, namespace) = (&place.cloud, place.namespace.as_str());
    let removals = names
        .iter()
        .map(|name| execute::remove(cloud, namespace, name));
    try_join_all(removals).await?;
    execute::wait_gone(cloud, namespace, names).await?;
    if with_namespace {
        execute::remove_namespace(cloud, namespace).await?;
    }
    Ok(())
}

/// The first failure is the error, the others are told below it.
fn tell(
    failed: Vec<(String, CloudError)>,
    late: Option<CloudError>,
    left: Option<CloudError>,
) -> Error {
    let mut all = failed.into_iter().map(|(_, error)| error).chain(late);
    let Some(first) = all.next() else {
        return Error::new(Code::Failed, "pods could not be made");
    };
    let mut error = all.fold(Error::from(first), |error, other| {
        error.detail(other.to_string())
    });
    if let Some(left) = left {
        error = error.detail(format!("and it could not be removed again: {left}"));
    }
    error
}
