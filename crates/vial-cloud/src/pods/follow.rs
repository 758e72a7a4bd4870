//! The Services of all pods of vial, followed by a watch: enough to know names, addresses, users and host keys.

use std::collections::BTreeMap;

use futures::{Stream, StreamExt as _};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};

use super::{PodView, Scope, key};
use crate::cloud::Cloud;
use crate::words;

/// What is there, by namespace and name.
pub type Known = BTreeMap<(String, String), PodView>;

/// Follows the Services of pods of vial: after every change of one of them, what is there then. An item is an error while
/// the API does not answer; what was known last holds then, and the stream goes on (kube's own back-off is the caller's).
pub fn follow_services(
    cloud: &Cloud,
    scope: &Scope,
) -> impl Stream<Item = Result<Known, watcher::Error>> + Send + use<> {
    let config = watcher::Config::default().labels(words::SELECTOR);
    let events = watcher(scope.api::<Service>(cloud.client()), config);
    // While a list is read again, what was known before holds.
    let (mut known, mut fresh) = (Known::new(), Known::new());
    events.filter_map(move |event| {
        let changed = event.map(|event| take(&mut known, &mut fresh, event));
        let item = match changed {
            Ok(true) => Some(Ok(known.clone())),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        };
        std::future::ready(item)
    })
}

/// Says when something of the pods of vial may have changed: a Service, a Deployment or a Pod. Nothing is told twice at
/// once; what there is then, [`super::list`] tells.
pub fn changes(cloud: &Cloud, scope: &Scope) -> impl Stream<Item = ()> + Send + use<> {
    fn of<K>(cloud: &Cloud, scope: &Scope) -> impl Stream<Item = ()> + Send + use<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K: Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
        K::DynamicType: Default,
    {
        let config = watcher::Config::default().labels(words::SELECTOR);
        let events = watcher(scope.api::<K>(cloud.client()), config).default_backoff();
        // While the API is away nothing is known to have changed.
        events.filter_map(|event| std::future::ready(event.ok().map(|_| ())))
    }
    let both = futures::stream::select(of::<Deployment>(cloud, scope), of::<Pod>(cloud, scope));
    futures::stream::select(of::<Service>(cloud, scope), both)
        .ready_chunks(1024)
        .map(|_| ())
}

/// Takes an event in; whether there is something new to tell.
fn take(known: &mut Known, fresh: &mut Known, event: Event<Service>) -> bool {
    match event {
        Event::Init => fresh.clear(),
        Event::InitApply(service) => {
            fresh.insert(key(&service), PodView::of(&service, None, &[]));
        }
        Event::InitDone => {
            *known = std::mem::take(fresh);
            return true;
        }
        Event::Apply(service) => {
            let view = PodView::of(&service, None, &[]);
            return known.insert(key(&service), view.clone()).as_ref() != Some(&view);
        }
        Event::Delete(service) => return known.remove(&key(&service)).is_some(),
    }
    false
}
