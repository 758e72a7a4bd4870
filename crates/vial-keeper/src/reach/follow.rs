//! A target that is kept looked up: what dials it often asks nobody.
//!
//! ```text
//! not asked yet ──► ways ◄──► waiting (there is no such object, or it has no address)      by a watch of the object
//! ```
//! While the API does not answer, what was known last holds.

use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::watch_object;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use vial_sandbox::Connection;
use vial_spec::target::{Target, TargetPort};

use super::names::{Meaning, meaning};
use super::{Kind, Reach, Unreachable, probably, way};
use crate::steadily::Steadily;

/// How long a connection waits for the first answer of the API.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two attempts to watch, while the API does not answer.
const PAUSE: Duration = Duration::from_millis(500);

/// A target, kept looked up as long as this lives.
pub(crate) struct Followed {
    reach: Reach,
    target: Target,
    port: TargetPort,
    seen: Option<watch::Receiver<Seen>>,
    _watching: Option<AbortOnDropHandle<()>>,
}

/// What the watch says; `None` until it said something.
type Seen = Option<Result<Found, Unreachable>>;

/// An object that is there.
#[derive(Debug, Clone)]
enum Found {
    Service(Box<Service>),
    Pod(Box<Pod>),
}

impl Followed {
    /// Begins to follow a target.
    pub(crate) fn new(reach: Reach, target: Target, port: TargetPort) -> Self {
        let meant = match &target {
            Target::Name(name) => match meaning(name, &reach.spec().name) {
                Ok(Meaning::Target(target)) => target,
                _ => target.clone(),
            },
            other => other.clone(),
        };
        let (sender, receiver) = watch::channel(None);
        let watching = match &meant {
            Target::Service { namespace, name } => {
                let wrap = |service| Found::Service(Box::new(service));
                Some(begin(&reach, namespace, name, wrap, sender))
            }
            Target::Pod { namespace, name } => {
                let wrap = |pod| Found::Pod(Box::new(pod));
                Some(begin(&reach, namespace, name, wrap, sender))
            }
            Target::Node(_) | Target::Address(_) | Target::Name(_) => None,
        };
        Self {
            seen: watching.is_some().then_some(receiver),
            _watching: watching,
            reach,
            target: meant,
            port,
        }
    }

    /// A connection to the target as it is now.
    pub(crate) async fn connect(&self) -> Result<Connection, Unreachable> {
        let what = || format!("{}:{}", self.target, self.port);
        let ways = match &self.seen {
            None => self.reach.ways(&self.target, &self.port).await?,
            Some(seen) => {
                let mut seen = seen.clone();
                let first = async {
                    let seen = seen.wait_for(Option::is_some).await;
                    seen.map(|seen| seen.clone()).ok().flatten()
                };
                let first = tokio::time::timeout(PATIENCE, first).await;
                let found = first.ok().flatten().ok_or_else(silent)??;
                self.ways(&found).await?
            }
        };
        self.reach.dial(&ways, what).await
    }

    /// Waits for the first answer of the API, for a while.
    pub(crate) async fn settle(&self, patience: Duration) {
        if let Some(seen) = &self.seen {
            let mut seen = seen.clone();
            let _ = tokio::time::timeout(patience, seen.wait_for(Option::is_some)).await;
        }
    }

    /// Why no connection can be made now; `None` when one probably can.
    pub(crate) fn waits_for(&self) -> Option<Unreachable> {
        let Some(seen) = &self.seen else {
            return match &self.target {
                Target::Node(name) => way::to_node(&self.reach.spec(), name, &self.port).err(),
                _ => None,
            };
        };
        let seen = seen.borrow().clone();
        match seen {
            None => Some(silent()),
            Some(Err(error)) => Some(error),
            Some(Ok(Found::Pod(pod))) => way::to_pod(&self.reach.spec(), &pod, &self.port).err(),
            Some(Ok(Found::Service(service))) => {
                way::to_service(&self.reach.spec(), &self.target, &service, &self.port).err()
            }
        }
    }

    async fn ways(&self, found: &Found) -> Result<Vec<way::Way>, Unreachable> {
        match found {
            Found::Service(service) => {
                let (target, port) = (&self.target, &self.port);
                self.reach.service_ways(target, service, port).await
            }
            Found::Pod(pod) => way::to_pod(&self.reach.spec(), pod, &self.port),
        }
    }
}

fn silent() -> Unreachable {
    Unreachable::NotReady("the API does not answer yet".into())
}

/// Watches one object in a task of its own.
fn begin<K: Kind + Send + 'static>(
    reach: &Reach,
    namespace: &str,
    name: &str,
    wrap: impl Fn(K) -> Found + Send + 'static,
    seen: watch::Sender<Seen>,
) -> AbortOnDropHandle<()> {
    let (reach, namespace, name) = (reach.clone(), namespace.to_owned(), name.to_owned());
    AbortOnDropHandle::new(tokio::spawn(keep(reach, namespace, name, wrap, seen)))
}

/// Watches one object.
async fn keep<K: Kind + Send + 'static>(
    reach: Reach,
    namespace: String,
    name: String,
    wrap: impl Fn(K) -> Found + Send,
    seen: watch::Sender<Seen>,
) {
    let api: Api<K> = Api::namespaced(reach.client.clone(), &namespace);
    let mut objects = std::pin::pin!(watch_object(api, &name).backoff(Steadily(PAUSE)));
    while let Some(object) = objects.next().await {
        match object {
            Ok(Some(object)) => {
                seen.send_replace(Some(Ok(wrap(object))));
            }
            Ok(None) => {
                let all = reach.names::<K>().await.unwrap_or_default();
                let missing = Unreachable::Unknown {
                    what: format!("{} does not exist", K::target(&namespace, &name)),
                    hint: probably::<K>(&all, &namespace, &name),
                };
                seen.send_replace(Some(Err(missing)));
            }
            Err(error) => {
                tracing::debug!(error = %crate::failure::chain(&error), name, "cannot watch")
            }
        }
    }
}
