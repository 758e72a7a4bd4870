//! Waiting until pods are ready, by watches of their Pods and Deployments.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};

use super::trouble::{self, Trouble};
use crate::cloud::Cloud;
use crate::error::{Error, Kind};
use crate::pods::is_ready;
use crate::words;

/// How long trouble that may go by itself is borne.
const PATIENCE: Duration = Duration::from_secs(10);

/// A pod that is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its name.
    pub name: String,
    /// Its image, for what is told.
    pub image: String,
    /// Pods of before, which do not count.
    pub old: Vec<String>,
}

/// What happens meanwhile.
#[derive(Debug)]
pub enum Progress {
    /// One can log in.
    Ready(String),
    /// It will not come; the others are waited for.
    Failed(String, Error),
    /// It has no entry point that stays; why.
    NoEntry(String, String),
    /// How far it is.
    State(String, String),
}

/// Waits until all are ready, or it is certain that they do not come.
///
/// # Errors
/// After `timeout`, with what was the matter last; when the API does not let us watch.
pub async fn wait_ready(
    cloud: &Cloud,
    namespace: &str,
    mut wanted: Vec<Waiting>,
    timeout: Duration,
    mut tell: impl FnMut(Progress) -> bool,
) -> Result<(), Error> {
    let client = || cloud.client().clone();
    let config = || watcher::Config::default().labels(words::SELECTOR);
    let pods = watcher(Api::<Pod>::namespaced(client(), namespace), config());
    let deployments = watcher(Api::<Deployment>::namespaced(client(), namespace), config());
    let mut pods = pin!(pods.default_backoff());
    let mut deployments = pin!(deployments.default_backoff());
    let mut deadline = pin!(tokio::time::sleep(timeout));
    // Since when a pod has had trouble that may go by itself.
    let mut grave: BTreeMap<String, (tokio::time::Instant, Error)> = BTreeMap::new();
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let mut told: BTreeSet<String> = BTreeSet::new();
    while !wanted.is_empty() {
        let (name, trouble) = tokio::select! {
            event = pods.next() => match object(event)? {
                Some(pod) => {
                    let Some(one) = concerned(&wanted, &pod) else { continue };
                    if pod.metadata.deletion_timestamp.is_some() || one.old.contains(&pod.name_any()) {
                        continue;
                    }
                    if is_ready(&pod) {
                        let name = one.name.clone();
                        wanted.retain(|one| one.name != name);
                        tell(Progress::Ready(name));
                        continue;
                    }
                    (one.name.clone(), trouble::of_pod(&one.name, &one.image, &pod))
                }
                None => continue,
            },
            event = deployments.next() => match object(event)? {
                Some(deployment) => {
                    let Some(one) = concerned(&wanted, &deployment) else { continue };
                    match trouble::of_deployment(&one.name, &deployment) {
                        None => continue,
                        trouble => (one.name.clone(), trouble),
                    }
                }
                None => continue,
            },
            _ = tick.tick() => {
                let due = grave.iter().find(|(_, (since, _))| since.elapsed() > PATIENCE);
                let Some(name) = due.map(|(name, _)| name.clone()) else { continue };
                match grave.remove(&name) {
                    Some((_, error)) => (name, Some(Trouble::Fatal(error))),
                    None => continue,
                }
            }
            () = &mut deadline => {
                return Err(late(&wanted, grave, timeout));
            }
        };
        match trouble {
            None => drop(grave.remove(&name)),
            Some(Trouble::Grave(error)) => {
                if told.insert(format!("{name}: {error}")) {
                    tell(Progress::State(name.clone(), error.to_string()));
                }
                let since = grave
                    .get(&name)
                    .map_or_else(tokio::time::Instant::now, |(since, _)| *since);
                grave.insert(name, (since, error));
            }
            Some(Trouble::Fatal(error)) => {
                wanted.retain(|one| one.name != name);
                tell(Progress::Failed(name, error));
            }
            Some(Trouble::NoEntry(why)) => {
                // Once told it is mended, and waited for on.
                if told.insert(format!("{name} no entry"))
                    && !tell(Progress::NoEntry(name.clone(), why.clone()))
                {
                    wanted.retain(|one| one.name != name);
                }
            }
        }
    }
    Ok(())
}

fn concerned<'a>(wanted: &'a [Waiting], object: &impl kube::ResourceExt) -> Option<&'a Waiting> {
    let name = object.labels().get(words::POD)?;
    wanted.iter().find(|one| one.name == *name)
}

fn object<K>(event: Option<Result<Event<K>, watcher::Error>>) -> Result<Option<K>, Error> {
    match event {
        Some(Ok(Event::Apply(object) | Event::InitApply(object))) => Ok(Some(object)),
        Some(Ok(_)) => Ok(None),
        Some(Err(watcher::Error::InitialListFailed(error))) => {
            Err(Error::of_api("cannot watch pods".into(), error))
        }
        // The API is away for a moment; the watch begins again by itself.
        Some(Err(_)) => Ok(None),
        None => Err(Error::new(Kind::Failed, "the watch of the pods ended")),
    }
}

fn late(
    wanted: &[Waiting],
    grave: BTreeMap<String, (tokio::time::Instant, Error)>,
    timeout: Duration,
) -> Error {
    let names: Vec<&str> = wanted.iter().map(|one| one.name.as_str()).collect();
    let names = names.join(", ");
    let message = format!("not ready after {} s: {names}", timeout.as_secs());
    let error = Error::new(Kind::TimedOut, message);
    match grave.into_values().next() {
        Some((_, why)) => error.caused(why),
        None => error.hinted(
            "`vial pod describe NAME` tells what it waits for; the same command waits again",
        ),
    }
}
