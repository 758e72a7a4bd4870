//! The owner's loop, and how each action is carried out.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::AbortHandle;
use vial_rpc::{ComponentStatus, Probe};
use vial_sys::error_chain;

use super::{Request, Subscription};
use crate::launch::launch;
use crate::lifecycle::{Action, Event, Lifecycle, Now, Urgency};
use crate::probe;
use crate::reaper::{Child, Reaper, Whom};

/// Changes a slow watcher may lag behind before it has to be told the present state anew.
const CHANGES: usize = 256;

pub(super) struct Owner {
    lifecycle: Lifecycle,
    reaper: Arc<Reaper>,
    requests: mpsc::UnboundedSender<Request>,
    changes: broadcast::Sender<ComponentStatus>,
    began: Instant,
    /// The process of a component's run.
    pids: HashMap<(String, u64), i32>,
    /// Processes that are there before their component starts.
    adopted: HashMap<String, Child>,
    probes: HashMap<String, AbortHandle>,
    removals: Vec<(String, oneshot::Sender<()>)>,
    fallen: Option<oneshot::Sender<String>>,
    shutdown: Option<oneshot::Sender<()>>,
}

impl Owner {
    pub(super) fn new(reaper: Arc<Reaper>, requests: mpsc::UnboundedSender<Request>) -> Self {
        Self {
            lifecycle: Lifecycle::default(),
            reaper,
            requests,
            changes: broadcast::channel(CHANGES).0,
            began: Instant::now(),
            pids: HashMap::new(),
            adopted: HashMap::new(),
            probes: HashMap::new(),
            removals: Vec::new(),
            fallen: None,
            shutdown: None,
        }
    }

    pub(super) async fn run(mut self, mut queue: mpsc::UnboundedReceiver<Request>) {
        while let Some(request) = queue.recv().await {
            self.serve(request);
        }
    }

    fn serve(&mut self, request: Request) {
        // An answer that nobody waits for any more is no error.
        match request {
            Request::Happened(event) => self.happened(event),
            Request::Apply(spec, reply) => {
                let answer = self.lifecycle.check(&spec).map(|()| {
                    let name = spec.name.clone();
                    self.happened(Event::Apply(spec));
                    self.lifecycle.status(&name).unwrap_or_default()
                });
                let _ = reply.send(answer);
            }
            Request::Remove(name, reply) => {
                if self.lifecycle.status(&name).is_none() {
                    let _ = reply.send(());
                } else {
                    self.removals.push((name.clone(), reply));
                    self.happened(Event::Remove(name));
                }
            }
            Request::Restart(name, reply) => {
                if self.lifecycle.status(&name).is_some() {
                    self.happened(Event::Restart(name.clone()));
                }
                let _ = reply.send(self.lifecycle.status(&name));
            }
            Request::Subscribe(reply) => {
                let changes = self.changes.subscribe();
                let _ = reply.send(Subscription {
                    present: self.lifecycle.statuses(),
                    changes,
                });
            }
            Request::Specs(reply) => drop(reply.send(self.lifecycle.specs())),
            Request::Processes(reply) => drop(reply.send(self.lifecycle.processes())),
            Request::Adopt(processes, reply) => {
                for (spec, child) in processes {
                    self.adopted.insert(spec.name.clone(), child);
                    self.happened(Event::Adopt(Box::new(spec)));
                }
                let _ = reply.send(());
            }
            Request::Fallen(reply) => self.fallen = Some(reply),
            Request::Shutdown(reply) => {
                self.shutdown = Some(reply);
                self.happened(Event::Shutdown);
            }
        }
    }

    /// Feeds an event, carries out what follows, and feeds what that leads to at once.
    fn happened(&mut self, event: Event) {
        if let Event::Exited { name, run, .. } = &event {
            self.pids.remove(&(name.clone(), *run));
        }
        let mut actions = VecDeque::from(self.lifecycle.handle(event, self.now()));
        while let Some(action) = actions.pop_front() {
            if let Some(answer) = self.carry_out(action) {
                let now = self.now();
                actions.extend(self.lifecycle.handle(answer, now));
            }
        }
    }

    fn carry_out(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Start { name, run, spec } => return Some(self.start(name, run, &spec)),
            Action::Probe { name, run, probe } => self.probe(name, run, probe),
            Action::EndProbe { name } => {
                if let Some(probe) = self.probes.remove(&name) {
                    probe.abort();
                }
            }
            Action::Signal { name, run, urgency } => {
                if let Some(pid) = self.pids.get(&(name, run)) {
                    let signal = match urgency {
                        Urgency::Terminate => Signal::TERM,
                        Urgency::Kill => Signal::KILL,
                    };
                    // When it has ended already, that news is on its way.
                    self.reaper.signal(*pid, signal, Whom::Group);
                }
            }
            Action::Timer { name, timer, after } => {
                let requests = self.requests.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(after).await;
                    let _ = requests.send(Request::Happened(Event::TimerFired { name, timer }));
                });
            }
            Action::Publish(status) => {
                tracing::debug!(component = status.name, state = ?status.state(), message = status.message, "changed");
                // Nobody has to watch.
                let _ = self.changes.send(status);
            }
            Action::Forgotten { name } => {
                for (_, reply) in self
                    .removals
                    .extract_if(.., |(waits_for, _)| *waits_for == name)
                {
                    let _ = reply.send(());
                }
            }
            Action::Fell { name, code } => {
                if let Some(reply) = self.fallen.take() {
                    let _ = reply.send(format!("{name} ended (exit code {code})"));
                }
            }
            Action::Finished => {
                if let Some(reply) = self.shutdown.take() {
                    let _ = reply.send(());
                }
            }
        }
        None
    }

    fn start(&mut self, name: String, run: u64, spec: &vial_rpc::ComponentSpec) -> Event {
        // Whoever waited for the removal of an earlier one of this name has got it.
        for (_, reply) in self
            .removals
            .extract_if(.., |(waits_for, _)| *waits_for == name)
        {
            let _ = reply.send(());
        }
        let there = self.adopted.remove(&name).map(Ok);
        match there.unwrap_or_else(|| launch(&self.reaper, spec)) {
            Ok(child) => {
                tracing::info!(component = name, pid = child.pid, "started");
                self.pids.insert((name.clone(), run), child.pid);
                let requests = self.requests.clone();
                let (of, exit) = (name.clone(), child.exit);
                tokio::spawn(async move {
                    if let Ok(code) = exit.await {
                        tracing::info!(component = of, code, "ended");
                        let _ = requests.send(Request::Happened(Event::Exited {
                            name: of,
                            run,
                            code,
                        }));
                    }
                });
                Event::Started {
                    name,
                    run,
                    pid: child.pid,
                }
            }
            Err(error) => {
                let why = error_chain(&error);
                tracing::warn!(component = name, why, "not started");
                Event::NotStarted { name, run, why }
            }
        }
    }

    fn probe(&mut self, name: String, run: u64, probe: Probe) {
        let requests = self.requests.clone();
        let of = name.clone();
        let task = tokio::spawn(async move {
            let failed = |why: String| {
                let event = Event::ProbeFailed {
                    name: of.clone(),
                    run,
                    why,
                };
                let _ = requests.send(Request::Happened(event));
            };
            probe::until_success(&probe, failed).await;
            let _ = requests.send(Request::Happened(Event::ProbeSucceeded {
                name: of.clone(),
                run,
            }));
        });
        if let Some(older) = self.probes.insert(name, task.abort_handle()) {
            older.abort();
        }
    }

    fn now(&self) -> Now {
        let unix_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis();
        Now {
            elapsed: self.began.elapsed(),
            unix_ms: u64::try_from(unix_ms).unwrap_or(u64::MAX),
        }
    }
}
