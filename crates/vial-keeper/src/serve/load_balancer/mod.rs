//! Services of type LoadBalancer: addresses for both sides, announced in their status.
//!
//! ```text
//! a Service that is ours ─► numbered ─► served on the host ─► announced ──(changes)──► served, announced again
//!                             │ book         │ listeners          │ status.loadBalancer.ingress
//!                             ▼              ▼                    ▼
//! gone, other type ────────► free ◄─────── closed ◄────────── taken back (when the Service is still there)
//! ```
//! Nodes and pods reach a Service at a virtual address (kube-proxy of every node takes it, [`wanted::ingress`]); the
//! host reaches it at a loopback address of its own, the connections of which go to the Service's cluster address.
//!
//! Who does what: [`serve`] alone owns the state; [`book`] knows whose number is whose and [`block`] keeps it on disk;
//! [`host`] holds the ports of the host; [`publish`] speaks to the API. What is wanted is decided anew from what was
//! last [`seen`] of a Service, so an event too many or too few does no harm.
//!
//! # On failure
//! A keeper that dies closes the host's ports, and nothing else: the next one reads the book, opens the same ports and
//! finds the status as it should be. An announcement that fails is made again; one that somebody else's conflicts with
//! is left to them until they take theirs back.

mod block;
mod book;
mod host;
mod publish;
mod seen;
mod udp;
mod wanted;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{LoadBalancerIngress, Service};
use kube::Api;
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::{WatchStreamExt as _, watcher};
use tokio::task::JoinSet;
use vial_engine::paths::Paths;
use vial_sandbox::Sandbox;

use crate::steadily::{SOON, Steadily};
use block::Shelf;
use book::{Addresses, Book};
use host::Host;
use publish::{MANAGER, Told, publish, warn};
use seen::Seen;
use wanted::{Unserved, Wanted};

/// Between two attempts to get a port of the host that somebody else has.
const ANOTHER_TRY: Duration = Duration::from_secs(2);

/// How many events are taken at once: the book is written once for all of them.
const EVENTS: usize = 256;

/// Serves the load balancers of a cluster until the task is dropped. The API need not answer yet.
pub(crate) async fn serve(
    client: kube::Client,
    sandbox: Arc<dyn Sandbox>,
    paths: Paths,
    cluster: String,
) {
    let (shelf, book) = match Shelf::open(&paths, &cluster) {
        Ok(opened) => opened,
        Err(error) => {
            tracing::error!(%error, "no load balancers");
            return;
        }
    };
    let reporter = Reporter {
        controller: MANAGER.to_owned(),
        instance: Some("vial".to_owned()),
    };
    let mut balancers = Balancers {
        recorder: Recorder::new(client.clone(), reporter),
        client: client.clone(),
        sandbox,
        kept: book.clone(),
        shelf,
        book,
        seen: HashMap::new(),
        balancers: HashMap::new(),
        listing: None,
        telling: JoinSet::new(),
        busy: BTreeSet::new(),
        conceded: HashMap::new(),
    };
    let services: Api<Service> = Api::all(client);
    let events = watcher(services, watcher::Config::default()).backoff(Steadily(SOON));
    let mut events = std::pin::pin!(events.ready_chunks(EVENTS));
    let mut another_try = tokio::time::interval(ANOTHER_TRY);
    loop {
        let touched = tokio::select! {
            Some(events) = events.next() => balancers.take(events).await,
            Some(Ok((uid, told))) = balancers.telling.join_next() => balancers.told(uid, told),
            _ = another_try.tick() => balancers.unavailable(),
        };
        balancers.work(touched).await;
    }
}

type Uid = String;

struct Balancers {
    client: kube::Client,
    recorder: Recorder,
    sandbox: Arc<dyn Sandbox>,
    shelf: Shelf,
    book: Book,
    /// The book as it is on disk.
    kept: Book,
    seen: HashMap<Uid, Seen>,
    balancers: HashMap<Uid, Balancer>,
    /// While the watch begins anew: what it listed so far.
    listing: Option<BTreeSet<Uid>>,
    telling: JoinSet<(Uid, Told)>,
    /// Whose status is being set.
    busy: BTreeSet<Uid>,
    /// What somebody else has written into a status, where we would have to overrule them.
    conceded: HashMap<Uid, Vec<LoadBalancerIngress>>,
}

/// One Service that is served.
#[derive(Default)]
struct Balancer {
    host: Host,
    unserved: BTreeMap<wanted::Port, Unserved>,
    /// What was complained of already.
    warned: BTreeSet<&'static str>,
}

impl Balancers {
    /// Remembers what the events tell; gives the Services that have to be looked at.
    async fn take(
        &mut self,
        events: Vec<watcher::Result<watcher::Event<Service>>>,
    ) -> BTreeSet<Uid> {
        let mut touched = BTreeSet::new();
        for event in events {
            match event {
                Ok(watcher::Event::Init) => self.listing = Some(BTreeSet::new()),
                Ok(watcher::Event::InitApply(service)) => {
                    let uid = self.remember(&service);
                    if let Some(listing) = &mut self.listing {
                        listing.insert(uid.clone());
                    }
                    touched.insert(uid);
                }
                Ok(watcher::Event::Apply(service)) => drop(touched.insert(self.remember(&service))),
                Ok(watcher::Event::Delete(service)) => {
                    let uid = service.metadata.uid.unwrap_or_default();
                    self.seen.remove(&uid);
                    touched.insert(uid);
                }
                Ok(watcher::Event::InitDone) => {
                    let listed = self.listing.take().unwrap_or_default();
                    self.seen.retain(|uid, _| listed.contains(uid));
                    touched.extend(self.balancers.keys().cloned());
                    self.book.keep_only(&listed);
                }
                // Asked again by the watch itself.
                Err(error) => {
                    tracing::debug!(error = %crate::failure::chain(&error), "cannot watch services")
                }
            }
        }
        touched
    }

    fn remember(&mut self, service: &Service) -> Uid {
        let uid = service.metadata.uid.clone().unwrap_or_default();
        let seen = Seen::of(service);
        if seen.is_foreign() {
            self.seen.remove(&uid);
        } else if self
            .seen
            .get(&uid)
            .is_none_or(|before| !seen.is_older_than(before))
        {
            self.seen.insert(uid.clone(), seen);
        }
        uid
    }

    /// An announcement has ended.
    fn told(&mut self, uid: Uid, told: Told) -> BTreeSet<Uid> {
        self.busy.remove(&uid);
        match told {
            // Deleted meanwhile: its answer is not news.
            Told::Done(service) if self.seen.contains_key(&uid) => {
                self.conceded.remove(&uid);
                self.remember(&service);
            }
            Told::Conceded => {
                if let Some(seen) = self.seen.get(&uid) {
                    self.conceded.insert(uid.clone(), seen.ingress.clone());
                }
            }
            Told::Done(_) | Told::Gone | Told::Failed => {}
        }
        BTreeSet::from([uid])
    }

    /// Services with a port that could not be had.
    fn unavailable(&self) -> BTreeSet<Uid> {
        let waits = |balancer: &Balancer| {
            balancer
                .unserved
                .values()
                .any(|why| *why == Unserved::NotAvailable)
        };
        let waiting = self
            .balancers
            .iter()
            .filter(|(_, balancer)| waits(balancer));
        waiting.map(|(uid, _)| uid.clone()).collect()
    }

    /// Brings these Services to what they want: first those that go, so that what they had is free for others.
    async fn work(&mut self, touched: BTreeSet<Uid>) {
        let is_wanted = |uid: &Uid| self.seen.get(uid).is_some_and(|seen| seen.wanted.is_some());
        let (wanted, unwanted): (Vec<Uid>, Vec<Uid>) = touched.into_iter().partition(is_wanted);
        for uid in &unwanted {
            if let Some(balancer) = self.balancers.remove(uid) {
                balancer.host.close().await;
            }
            self.book.release(uid);
            self.conceded.remove(uid);
        }
        let mut announce = Vec::new();
        for uid in wanted {
            let Some((seen, wanted)) = self
                .seen
                .get(&uid)
                .and_then(|seen| Some((seen.clone(), seen.wanted.clone()?)))
            else {
                continue;
            };
            match self.book.assign(&uid, wanted.wish) {
                Ok(addresses) => {
                    let ingress = self.balance(&uid, &seen, &wanted, addresses).await;
                    announce.push((uid, ingress));
                }
                Err(full) => {
                    self.balancers.entry(uid.clone()).or_default();
                    self.warn(&uid, &seen, "NoAddress", full.to_string());
                }
            }
        }
        // An address is remembered before anybody hears of it.
        if self.book != self.kept {
            match self.shelf.write(&self.book) {
                Ok(()) => self.kept = self.book.clone(),
                Err(error) => {
                    tracing::error!(%error, "cannot write the addresses of load balancers")
                }
            }
        }
        for (uid, ingress) in announce {
            self.announce(uid, ingress);
        }
        for uid in unwanted {
            // Nothing of ours shall stay in the status of a Service that has become another one.
            if self.seen.get(&uid).is_some_and(|seen| seen.marked) {
                self.announce(uid, Vec::new());
            }
        }
    }

    /// Serves one Service on the host; gives what its status shall say.
    async fn balance(
        &mut self,
        uid: &Uid,
        seen: &Seen,
        wanted: &Wanted,
        addresses: Addresses,
    ) -> Vec<LoadBalancerIngress> {
        let balancer = self.balancers.entry(uid.clone()).or_default();
        let unserved = balancer
            .host
            .serve(wanted, addresses.loopback(), &self.sandbox)
            .await;
        balancer.unserved.clone_from(&unserved);
        for (port, why) in &unserved {
            let note = why.explain(*port, addresses.loopback());
            self.warn(uid, seen, why.reason(), note);
        }
        if let Some(wish) = wanted.wish.filter(|wish| !addresses.contains(*wish)) {
            let note = format!(
                "loadBalancerIP {wish} is not one of this cluster's, or is taken: the service has {} instead",
                addresses.v4()
            );
            self.warn(uid, seen, "AddressNotAvailable", note);
        }
        wanted::ingress(wanted, addresses, &unserved)
    }

    /// Sets the status of a Service, unless it is as it should be, is being set, or is somebody else's.
    fn announce(&mut self, uid: Uid, ingress: Vec<LoadBalancerIngress>) {
        let Some(seen) = self.seen.get(&uid) else {
            return;
        };
        if seen.ingress == ingress || self.busy.contains(&uid) {
            return;
        }
        if self.conceded.get(&uid) == Some(&seen.ingress) {
            let seen = seen.clone();
            let note =
                "its status has addresses that vial did not set: vial leaves them as they are"
                    .to_owned();
            self.warn(&uid, &seen, "AddressesOfOthers", note);
            return;
        }
        self.busy.insert(uid.clone());
        let (client, reference) = (self.client.clone(), seen.reference.clone());
        self.telling.spawn(async move {
            let told = publish(client, &reference, &ingress).await;
            if matches!(told, Told::Failed) {
                tokio::time::sleep(SOON).await;
            }
            (uid, told)
        });
    }

    /// Complains once of each thing.
    fn warn(&mut self, uid: &Uid, seen: &Seen, reason: &'static str, note: String) {
        let Some(balancer) = self.balancers.get_mut(uid) else {
            return;
        };
        if balancer.warned.insert(reason) {
            let (recorder, reference) = (self.recorder.clone(), seen.reference.clone());
            tokio::spawn(async move { warn(&recorder, &reference, reason, note).await });
        }
    }
}
