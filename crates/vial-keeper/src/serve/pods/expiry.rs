//! Pods that were made for a time: the warning before and the end, at their times.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, Service};
use kube::Resource as _;
use kube::api::Api;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use vial_cloud::pods::{Known, PodView, State};
use vial_cloud::{Cloud, expiry, words};

use crate::events::{About, Book, What};
use crate::failure::chain;

/// Clocks are set: no wait is longer.
const LONGEST: Duration = Duration::from_secs(30);
/// Before a removal that failed is tried again.
const PAUSE: Duration = Duration::from_secs(2);

/// What was told already.
pub(super) struct Expiry {
    cloud: Cloud,
    story: Arc<Book>,
    recorder: Recorder,
    /// For which end of which pod.
    warned: BTreeMap<(String, String), Timestamp>,
    /// The last removal failed.
    failed: bool,
}

impl Expiry {
    pub(super) fn new(cloud: Cloud, story: Arc<Book>) -> Self {
        let reporter = Reporter {
            controller: words::MANAGER.to_owned(),
            instance: None,
        };
        Self {
            recorder: Recorder::new(cloud.client().clone(), reporter),
            cloud,
            story,
            warned: BTreeMap::new(),
            failed: false,
        }
    }

    /// Resolves when there may be something to do; never while no pod has an end.
    pub(super) fn next(&self, known: &Known) -> impl Future<Output = ()> + use<> {
        let pause = self.pause(known, Timestamp::now());
        async move {
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        }
    }

    fn pause(&self, known: &Known, now: Timestamp) -> Option<Duration> {
        let staying = known.values().filter(|pod| pod.state != State::Ending);
        let times = staying.filter_map(|pod| match self.is_warned(pod) {
            true => pod.expires,
            false => expiry::warning(pod),
        });
        let until = now.duration_until(times.min()?);
        let until = Duration::try_from(until).unwrap_or_default();
        let shortest = if self.failed { PAUSE } else { Duration::ZERO };
        Some(until.clamp(shortest, LONGEST))
    }

    fn is_warned(&self, pod: &PodView) -> bool {
        let key = (pod.namespace.clone(), pod.name.clone());
        pod.expires.is_some() && self.warned.get(&key) == pod.expires.as_ref()
    }

    /// Warns of what goes soon, removes what has to go.
    pub(super) async fn work(&mut self, known: &Known) {
        let now = Timestamp::now();
        self.failed = false;
        self.warned.retain(|key, _| known.contains_key(key));
        for pod in known.values().filter(|pod| pod.state != State::Ending) {
            if expiry::has_expired(pod, now) {
                self.remove(pod).await;
            } else if expiry::warning(pod).is_some_and(|at| at <= now) && !self.is_warned(pod) {
                self.warn(pod).await;
            }
        }
    }

    async fn warn(&mut self, pod: &PodView) {
        let Some(expires) = pod.expires else { return };
        let key = (pod.namespace.clone(), pod.name.clone());
        self.warned.insert(key, expires);
        let (namespace, name) = (&pod.namespace, &pod.name);
        let text = format!("the pod {namespace}/{name} is removed at {expires}");
        self.story.tell(What::PodExpires, About::cluster(), text);
        let note = format!("the pod is removed at {expires}, as its --ttl says");
        if let Some(service) = self.reference(pod).await {
            self.tell(&service, EventType::Warning, "Expires", note)
                .await;
        }
    }

    async fn remove(&mut self, pod: &PodView) {
        let service = self.reference(pod).await;
        match expiry::remove(&self.cloud, pod).await {
            Ok(true) => {
                let (namespace, name) = (&pod.namespace, &pod.name);
                let text = format!("the pod {namespace}/{name} was removed: its time was over");
                self.story.tell(What::PodExpired, About::cluster(), text);
                let note = "the pod was removed, as its --ttl says".to_owned();
                if let Some(service) = service {
                    self.tell(&service, EventType::Normal, "Expired", note)
                        .await;
                }
            }
            Ok(false) => self.failed = true,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "cannot remove an expired pod");
                self.failed = true;
            }
        }
    }

    async fn reference(&self, pod: &PodView) -> Option<ObjectReference> {
        let services: Api<Service> = Api::namespaced(self.cloud.client().clone(), &pod.namespace);
        let service = services.get(&pod.name).await.ok()?;
        Some(service.object_ref(&()))
    }

    /// For `kubectl describe`. An event that cannot be told changes nothing.
    async fn tell(&self, service: &ObjectReference, type_: EventType, reason: &str, note: String) {
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note),
            action: "Expire".to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, service).await {
            tracing::debug!(error = %chain(&error), reason, "cannot publish an event");
        }
    }
}
