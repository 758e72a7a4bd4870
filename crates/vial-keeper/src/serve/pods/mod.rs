//! The pods of vial in this cluster: ssh finds them at once, and those that were made for a time go at theirs.
//!
//! ```text
//! Services of pods ──watch──► Following ──► ssh    files of every person that has files of the cluster
//!        ▲                        │
//!        └──── delete ◄── expiry ◄┘ (a warning, then the end: told to the API and to `vial events`)
//! ```
//! While the API does not answer, what was known last holds. One task does all of it, so files are never older than those
//! written before.

mod expiry;
mod ssh;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use kube::runtime::watcher;
use tokio::sync::{mpsc, oneshot, watch};
use vial_cloud::Cloud;
use vial_cloud::pods::{self, Known, Scope, follow_services};
use vial_engine::paths::Paths;
use vial_spec::ClusterSpec;

use crate::events::Book;
use crate::failure::chain;
use crate::steadily::SOON;
use expiry::Expiry;

/// As many changes are taken at once.
const EVENTS: usize = 256;
/// A list that was asked for has to come so soon; else what is known is written.
const PATIENCE: Duration = Duration::from_secs(3);

/// The line to the task: who wants the files of ssh to be as the cluster is now.
#[derive(Clone)]
pub(crate) struct Pods(mpsc::Sender<oneshot::Sender<()>>);

impl Pods {
    /// The line, and its end for [`serve`].
    pub(super) fn line() -> (Self, mpsc::Receiver<oneshot::Sender<()>>) {
        let (sender, receiver) = mpsc::channel(16);
        (Self(sender), receiver)
    }

    /// Resolves when the files of every person are as the cluster is at this moment.
    pub(crate) async fn refresh(&self) {
        let (done, written) = oneshot::channel();
        // Where the task has ended the cluster has, too.
        if self.0.send(done).await.is_ok() {
            let _ = written.await;
        }
    }
}

/// What the task has.
struct Following {
    cloud: Cloud,
    paths: Paths,
    wanted: watch::Receiver<Arc<ClusterSpec>>,
    known: Known,
    expiry: Expiry,
}

/// Follows the pods until the task is dropped. The API need not answer yet.
pub(super) async fn serve(
    client: kube::Client,
    paths: Paths,
    wanted: watch::Receiver<Arc<ClusterSpec>>,
    story: Arc<Book>,
    mut asked: mpsc::Receiver<oneshot::Sender<()>>,
) {
    let cluster = wanted.borrow().name.clone();
    let cloud = Cloud::new(client, &cluster);
    let changes = follow_services(&cloud, &Scope::All).ready_chunks(EVENTS);
    let mut changes = std::pin::pin!(changes);
    let mut changed = wanted.clone();
    let mut following = Following {
        expiry: Expiry::new(cloud.clone(), story),
        cloud,
        paths,
        wanted,
        known: Known::new(),
    };
    loop {
        let due = following.expiry.next(&following.known);
        tokio::select! {
            Some(those) = changes.next() => following.take(those).await,
            Some(done) = asked.recv() => {
                following.list().await;
                // Whoever asked may be gone.
                let _ = done.send(());
            }
            known = changed.changed() => match known {
                Ok(()) => following.write().await,
                Err(_) => return,
            },
            () = due => following.expiry.work(&following.known).await,
        }
    }
}

impl Following {
    async fn take(&mut self, changes: Vec<Result<Known, watcher::Error>>) {
        let mut news = None;
        let mut failed = false;
        for change in changes {
            match change {
                Ok(known) => news = Some(known),
                Err(error) => {
                    tracing::debug!(error = %chain(&error), "cannot watch pods");
                    failed = true;
                }
            }
        }
        if let Some(known) = news {
            self.known = known;
            self.write().await;
        }
        if failed {
            tokio::time::sleep(SOON).await;
        }
    }

    /// Asks anew rather than waiting for the watch.
    async fn list(&mut self) {
        let listed = tokio::time::timeout(PATIENCE, pods::services(&self.cloud, &Scope::All));
        match listed.await {
            Ok(Ok(pods)) => {
                let key = |pod: &pods::PodView| (pod.namespace.clone(), pod.name.clone());
                self.known = pods.into_iter().map(|pod| (key(&pod), pod)).collect();
            }
            Ok(Err(error)) => tracing::debug!(error = %chain(&error), "cannot list pods"),
            Err(_) => tracing::debug!("cannot list pods in time"),
        }
        self.write().await;
    }

    async fn write(&self) {
        let spec = Arc::clone(&self.wanted.borrow());
        let nodes = spec.nodes.iter().map(|node| node.name.clone()).collect();
        ssh::write(&self.paths, &spec.name, nodes, &self.known).await;
    }
}
