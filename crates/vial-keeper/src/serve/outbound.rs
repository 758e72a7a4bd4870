//! Whether nodes and pods reach what the host reaches.
//!
//! ```text
//! closed ──(wanted, and the host has a network)──► open ──(ended by itself: a pause)──► closed
//!    ▲                                               │
//!    └───────────────(not wanted any more)───────────┘
//! ```
//! This task alone opens and closes the way ([`Sandbox::open_outside`]). A keeper that dies leaves it open, the next one
//! takes it over. A host that loses its network keeps its way out, which then leads nowhere: connections that wait for the
//! network to come back are not cut.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use vial_image::NodeImage;
use vial_sandbox::{Families, Outside, Sandbox, SandboxError, Uplinks};
use vial_spec::{ClusterSpec, IpFamily, Outbound};

use crate::events::{About, Book, What};
use crate::failure::chain;

/// How often to look whether the host has a network: nothing tells of it without a netlink socket of one's own.
const LOOK: Duration = Duration::from_secs(5);
/// Before the way is opened again; it doubles with each failure in a row.
const PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(64);

/// The program that carries connections, in a node image.
const PROGRAM: &str = "usr/bin/pasta";

/// The root file system that has the program; `None` when the image has none.
pub(crate) fn root(image: &NodeImage) -> Option<PathBuf> {
    let program = image.in_layers(PROGRAM)?;
    program.ancestors().nth(3).map(ToOwned::to_owned)
}

/// Opens and closes the way out until the task is dropped.
pub(super) async fn serve(
    sandbox: Arc<dyn Sandbox>,
    root: Option<PathBuf>,
    mut wanted: watch::Receiver<Arc<ClusterSpec>>,
    story: Arc<Book>,
) {
    let Some(root) = root else {
        let text = format!("there is no way outside: the node image has no {PROGRAM}");
        story.tell(What::OutboundFailed, About::cluster(), text);
        return;
    };
    let mut failures = Failures::default();
    loop {
        let spec = Arc::clone(&wanted.borrow_and_update());
        let own = Families {
            v4: spec.network.ip_family != IpFamily::Ipv6,
            v6: spec.network.ip_family != IpFamily::Ipv4,
        };
        let at_work = async {
            match (spec.outbound, outside(&root, own)) {
                (Outbound::None, _) => match sandbox.close_outside().await {
                    Ok(()) => std::future::pending().await,
                    Err(error) => failures.pause(&error, &story).await,
                },
                (Outbound::Auto, None) => tokio::time::sleep(LOOK).await,
                (Outbound::Auto, Some(outside)) => tokio::select! {
                    ended = sandbox.open_outside(&outside) => match ended {
                        Ok(()) => {
                            failures = Failures::default();
                            // Where the whole sandbox ended there is nothing more to tell: this task is dropped.
                            tokio::time::sleep(PAUSE).await;
                            let text = "the way outside ended by itself; it is opened again";
                            story.tell(What::OutboundEnded, About::cluster(), text);
                        }
                        Err(error) => failures.pause(&error, &story).await,
                    },
                    () = more_than(own, outside.families) => {}
                },
            }
        };
        tokio::select! {
            () = at_work => {}
            changed = wanted.changed() => if changed.is_err() { return },
        }
    }
}

/// The way out that the host's network allows a cluster with these families.
fn outside(root: &Path, own: Families) -> Option<Outside> {
    let uplinks = Uplinks::now();
    let families = own.and(uplinks.families());
    // IPv6 first: the interface's link-local address is needed, while IPv4 takes nothing from it.
    let interface = uplinks.v6.filter(|_| families.v6);
    let interface = interface.or(uplinks.v4.filter(|_| families.v4))?;
    Some(Outside {
        root: root.to_owned(),
        families,
        interface,
    })
}

/// Resolves when the host has a network in another family of the cluster's, too.
async fn more_than(own: Families, families: Families) {
    while families.covers(own.and(Uplinks::now().families())) {
        tokio::time::sleep(LOOK).await;
    }
}

/// Failures in a row.
#[derive(Default)]
struct Failures {
    count: u32,
    last: String,
}

impl Failures {
    /// Tells what is new, and lets time pass before the next attempt.
    async fn pause(&mut self, error: &SandboxError, story: &Book) {
        let error = chain(error);
        tracing::warn!(error, "the way out of the cluster");
        if error != self.last {
            story.tell(What::OutboundFailed, About::cluster(), &error);
            self.last = error;
        }
        let pause = PAUSE.saturating_mul(1 << self.count.min(5));
        self.count += 1;
        tokio::time::sleep(pause.min(LONGEST_PAUSE)).await;
    }
}
