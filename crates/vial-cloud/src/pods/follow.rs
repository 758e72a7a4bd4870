//! The Services of all pods of vial, followed by a watch: enough to know names, addresses, users and host keys.

use std::collections::BTreeMap;

use futures::{Stream, StreamExt as _};

use k8s_openapi::api::core::v1::Service;
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
