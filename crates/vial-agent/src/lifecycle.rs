//! The life of supervised components: events in, actions out, nothing done.
//!
//! The [`supervisor`](crate::supervisor) owns the one [`Lifecycle`] of an agent, feeds it what happened and carries out
//! what it answers. There is no clock, process or file in here, so every path can be tested as a list of events.
//!
//! # States
//! ```text
//!  apply ──► WAITING ──all of `after` ready──► STARTING ──probe succeeds──► READY
//!              ▲  ▲                              │ │                         │ │
//!              │  └──── back-off over ── BACKOFF ◄┴─┼───── exits by itself ───┘ │
//!              │                            │       │                           │
//!              │        apply (other spec), restart, remove, shutdown           │
//!              │                            ▼       ▼                           │
//!              └── (replace, restart) ── STOPPING ◄─┴───────────────────────────┘
//!                                           └──► forgotten (remove), STOPPED (shutdown)
//! ```
//! A component that runs once (`foreground_once`) is READY without a process after exit 0, and in BACKOFF after any
//! other exit. A component without a process stops at once. A vital one that exits by itself is told as FELL: the agent ends.
//! One that is adopted is STARTING from the first moment on.
//!
//! # Invariants
//! - At most one process of a component exists; its number is `run`, and news of any other run are ignored.
//! - A timer counts only while its number is the component's present one: every change of state makes older ones stale.
//! - Readiness is a condition for the *start* of those that come after; a later crash does not touch those that run.
//! - At shutdown a component stops when none that comes after it still runs.

mod component;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use component::{Component, Phase, Then};
use vial_rpc::{ComponentSpec, ComponentStatus, Probe};

/// How long the first crash in a row delays the next start; it doubles with each.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// The longest delay between two starts.
const LONGEST_DELAY: Duration = Duration::from_secs(10);
/// Who was ready that long starts with the shortest delay again.
const STEADY: Duration = Duration::from_secs(60);
/// Between SIGTERM and SIGKILL when the spec says nothing.
const DEFAULT_GRACE: Duration = Duration::from_secs(5);

/// When an event happened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    /// Since any fixed point, never going back.
    pub(crate) elapsed: Duration,
    /// Wall clock, milliseconds since 1970.
    pub(crate) unix_ms: u64,
}

/// What happened.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// Somebody wants this component; checked by [`Lifecycle::check`] before.
    Apply(Box<ComponentSpec>),
    /// The process of this component is there already; its name must not be known. Whom it comes after does not matter.
    Adopt(Box<ComponentSpec>),
    Remove(String),
    Restart(String),
    Started {
        name: String,
        run: u64,
        pid: i32,
    },
    NotStarted {
        name: String,
        run: u64,
        why: String,
    },
    /// 128 + signal when it was killed.
    Exited {
        name: String,
        run: u64,
        code: i32,
    },
    ProbeSucceeded {
        name: String,
        run: u64,
    },
    ProbeFailed {
        name: String,
        run: u64,
        why: String,
    },
    TimerFired {
        name: String,
        timer: u64,
    },
    Shutdown,
}

/// How urgently a process is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    Terminate,
    Kill,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Answered by `Started` or `NotStarted` before any other event.
    Start {
        name: String,
        run: u64,
        spec: Arc<ComponentSpec>,
    },
    Probe {
        name: String,
        run: u64,
        probe: Probe,
    },
    EndProbe {
        name: String,
    },
    /// To the whole process group.
    Signal {
        name: String,
        run: u64,
        urgency: Urgency,
    },
    Timer {
        name: String,
        timer: u64,
        after: Duration,
    },
    Publish(ComponentStatus),
    /// A component that was to be removed is gone.
    Forgotten {
        name: String,
    },
    /// A vital component ended by itself.
    Fell {
        name: String,
        code: i32,
    },
    /// Nothing runs any more after [`Event::Shutdown`].
    Finished,
}

/// Why a spec cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the agent is stopping: cannot apply {name}")]
    Stopping { name: String },
    #[error("cannot apply a component without a name")]
    NoName,
    #[error("cannot apply {name}: its argv is empty")]
    NoProgram { name: String },
    #[error("cannot apply {name}: it would wait for itself by way of {}", .by.join(", "))]
    Cycle { name: String, by: Vec<String> },
}

/// All components of an agent, in the order in which they were first applied.
#[derive(Debug, Default)]
pub(crate) struct Lifecycle {
    components: Vec<Component>,
    shutting_down: bool,
    finished: bool,
    timers: u64,
    runs: u64,
}

impl Lifecycle {
    /// The present state of each component.
    pub(crate) fn statuses(&self) -> Vec<ComponentStatus> {
        self.components.iter().map(Component::status).collect()
    }

    /// The present state of one component.
    pub(crate) fn status(&self, name: &str) -> Option<ComponentStatus> {
        self.components
            .iter()
            .find(|component| component.spec.name == name)
            .map(Component::status)
    }

    /// The wanted spec of each component.
    pub(crate) fn specs(&self) -> Vec<Arc<ComponentSpec>> {
        self.components
            .iter()
            .map(|component| component.spec.clone())
            .collect()
    }

    /// Those that have a process, with it; the name of one that is just being stopped instead.
    pub(crate) fn processes(&self) -> Result<Vec<(Arc<ComponentSpec>, i32)>, String> {
        let mut processes = Vec::new();
        for component in &self.components {
            match component.phase {
                Phase::Starting | Phase::Ready => {
                    processes.push((component.spec.clone(), component.pid));
                }
                Phase::Stopping(_) => return Err(component.spec.name.clone()),
                Phase::Waiting | Phase::Done | Phase::Backoff { .. } | Phase::Stopped => {}
            }
        }
        Ok(processes)
    }

    /// Whether [`Event::Apply`] of `spec` makes sense.
    pub(crate) fn check(&self, spec: &ComponentSpec) -> Result<(), Refusal> {
        let name = spec.name.clone();
        if self.shutting_down {
            return Err(Refusal::Stopping { name });
        }
        if name.is_empty() {
            return Err(Refusal::NoName);
        }
        if spec.argv.first().is_none_or(String::is_empty) {
            return Err(Refusal::NoProgram { name });
        }
        let mut open: Vec<(&str, Vec<String>)> = spec
            .after
            .iter()
            .map(|other| (other.as_str(), vec![]))
            .collect();
        let mut seen: Vec<&str> = Vec::new();
        while let Some((other, mut by)) = open.pop() {
            by.push(other.to_string());
            if other == spec.name {
                return Err(Refusal::Cycle { name, by });
            }
            if seen.contains(&other) {
                continue;
            }
            seen.push(other);
            if let Some(component) = self
                .components
                .iter()
                .find(|component| component.spec.name == other)
            {
                open.extend(
                    component
                        .spec
                        .after
                        .iter()
                        .map(|next| (next.as_str(), by.clone())),
                );
            }
        }
        Ok(())
    }

    /// Takes in one event; the actions are to be carried out in order.
    pub(crate) fn handle(&mut self, event: Event, now: Now) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Apply(spec) => self.apply(*spec, now, &mut actions),
            Event::Adopt(spec) => self.adopt(*spec, now, &mut actions),
            Event::Remove(name) => self.end(&name, Then::Forget, now, &mut actions),
            Event::Restart(name) => self.end(&name, Then::Start, now, &mut actions),
            Event::Shutdown => self.shutting_down = true,
            Event::TimerFired { name, timer } => {
                if let Some(index) = self
                    .index(&name)
                    .filter(|index| self.components[*index].timer == timer)
                {
                    self.timer_fired(index, now, &mut actions);
                }
            }
            Event::Started { ref name, run, .. }
            | Event::NotStarted { ref name, run, .. }
            | Event::Exited { ref name, run, .. }
            | Event::ProbeSucceeded { ref name, run }
            | Event::ProbeFailed { ref name, run, .. } => {
                if let Some(index) = self
                    .index(name)
                    .filter(|index| self.components[*index].run == run)
                {
                    self.news_of_run(index, event, now, &mut actions);
                }
            }
        }
        if self.shutting_down {
            self.stop_next(now, &mut actions);
        } else {
            self.start_those_who_can(now, &mut actions);
        }
        actions
    }

    fn index(&self, name: &str) -> Option<usize> {
        self.components
            .iter()
            .position(|component| component.spec.name == name)
    }

    fn apply(&mut self, spec: ComponentSpec, now: Now, actions: &mut Vec<Action>) {
        let name = spec.name.clone();
        let Some(index) = self.index(&name) else {
            let component = Component::new(spec, now);
            actions.push(Action::Publish(component.status()));
            self.components.push(component);
            return;
        };
        let component = &mut self.components[index];
        let wanted = component.phase != Phase::Stopping(Then::Forget);
        if wanted && component.digest == component::digest(&spec) {
            return;
        }
        component.set_spec(spec);
        self.end(&name, Then::Start, now, actions);
    }

    fn adopt(&mut self, spec: ComponentSpec, now: Now, actions: &mut Vec<Action>) {
        let component = Component::new(spec, now);
        actions.push(Action::Publish(component.status()));
        self.components.push(component);
        self.start(self.components.len() - 1, now, actions);
    }

    /// Brings a component to its end, at once when it has no process, and then where `then` says.
    fn end(&mut self, name: &str, then: Then, now: Now, actions: &mut Vec<Action>) {
        let Some(index) = self.index(name) else {
            return;
        };
        let component = &mut self.components[index];
        component.crashes = 0;
        match component.phase {
            Phase::Starting | Phase::Ready => {
                self.timers += 1;
                component.enter(Phase::Stopping(then), String::new(), now);
                component.timer = self.timers;
                actions.push(Action::EndProbe {
                    name: name.to_string(),
                });
                actions.push(Action::Publish(component.status()));
                let run = component.run;
                actions.push(Action::Signal {
                    name: name.to_string(),
                    run,
                    urgency: Urgency::Terminate,
                });
                actions.push(Action::Timer {
                    name: name.to_string(),
                    timer: self.timers,
                    after: component.grace(),
                });
            }
            Phase::Stopping(_) => {
                component.phase = Phase::Stopping(then);
                actions.push(Action::Publish(component.status()));
            }
            Phase::Waiting | Phase::Backoff { .. } | Phase::Done | Phase::Stopped => {
                self.ended(index, then, now, actions);
            }
        }
    }

    /// No process of the component is left.
    fn ended(&mut self, index: usize, then: Then, now: Now, actions: &mut Vec<Action>) {
        let component = &mut self.components[index];
        match then {
            Then::Start => component.enter(Phase::Waiting, String::new(), now),
            Then::Stay => component.enter(Phase::Stopped, String::new(), now),
            Then::Forget => component.enter(Phase::Stopped, "removed".to_string(), now),
        }
        actions.push(Action::Publish(component.status()));
        if then == Then::Forget {
            let name = self.components.remove(index).spec.name.clone();
            actions.push(Action::Forgotten { name });
        }
    }

    fn timer_fired(&mut self, index: usize, now: Now, actions: &mut Vec<Action>) {
        let component = &mut self.components[index];
        match component.phase {
            Phase::Backoff { ran } => {
                component.restarts += u32::from(ran);
                component.enter(Phase::Waiting, String::new(), now);
                actions.push(Action::Publish(component.status()));
            }
            Phase::Stopping(_) => {
                let name = component.spec.name.clone();
                actions.push(Action::Signal {
                    name,
                    run: component.run,
                    urgency: Urgency::Kill,
                });
            }
            Phase::Waiting | Phase::Starting | Phase::Ready | Phase::Done | Phase::Stopped => {}
        }
    }

    fn news_of_run(&mut self, index: usize, event: Event, now: Now, actions: &mut Vec<Action>) {
        let component = &mut self.components[index];
        match (event, component.phase) {
            (Event::Started { name, run, pid }, Phase::Starting) => {
                component.pid = pid;
                match component.spec.ready.clone() {
                    Some(probe) if !component.spec.foreground_once => {
                        actions.push(Action::Probe { name, run, probe })
                    }
                    None if !component.spec.foreground_once => component.enter_ready(now),
                    _ => {}
                }
                actions.push(Action::Publish(component.status()));
            }
            (Event::NotStarted { why, .. }, Phase::Starting) => {
                self.back_off(index, why, false, now, actions)
            }
            (Event::ProbeSucceeded { .. }, Phase::Starting) => {
                component.enter_ready(now);
                actions.push(Action::Publish(component.status()));
            }
            (Event::ProbeFailed { why, .. }, Phase::Starting) if component.message != why => {
                component.message = why;
                actions.push(Action::Publish(component.status()));
            }
            (Event::Exited { name, code, .. }, phase) => {
                component.pid = 0;
                component.last_exit_code = code;
                actions.push(Action::EndProbe { name: name.clone() });
                match phase {
                    Phase::Stopping(then) => self.ended(index, then, now, actions),
                    _ if component.spec.foreground_once && code == 0 => {
                        component.enter(Phase::Done, String::new(), now);
                        actions.push(Action::Publish(component.status()));
                    }
                    _ if component.spec.vital => {
                        component.enter(Phase::Stopped, exit_message(code), now);
                        actions.push(Action::Publish(component.status()));
                        actions.push(Action::Fell { name, code });
                    }
                    _ => self.back_off(index, exit_message(code), true, now, actions),
                }
            }
            _ => {}
        }
    }

    /// The component ended by itself, or could not even start: the next start is delayed.
    fn back_off(
        &mut self,
        index: usize,
        why: String,
        ran: bool,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        self.timers += 1;
        let component = &mut self.components[index];
        if component.phase == Phase::Ready
            && now.elapsed.saturating_sub(component.ready_since) >= STEADY
        {
            component.crashes = 0;
        }
        let after = FIRST_DELAY
            .saturating_mul(1_u32.checked_shl(component.crashes).unwrap_or(u32::MAX))
            .min(LONGEST_DELAY);
        component.crashes += 1;
        component.enter(
            Phase::Backoff { ran },
            format!("{why}; starts again in {after:?}"),
            now,
        );
        component.timer = self.timers;
        actions.push(Action::Publish(component.status()));
        actions.push(Action::Timer {
            name: component.spec.name.clone(),
            timer: self.timers,
            after,
        });
    }

    fn start_those_who_can(&mut self, now: Now, actions: &mut Vec<Action>) {
        let ready: Vec<String> = self
            .components
            .iter()
            .filter(|c| c.is_ready())
            .map(|c| c.spec.name.clone())
            .collect();
        for index in 0..self.components.len() {
            let component = &mut self.components[index];
            if component.phase != Phase::Waiting {
                continue;
            }
            let missing: Vec<&str> = component
                .spec
                .after
                .iter()
                .map(String::as_str)
                .filter(|name| !ready.iter().any(|r| r == name))
                .collect();
            if missing.is_empty() {
                self.start(index, now, actions);
            } else {
                let message = format!("waits for {}", missing.join(", "));
                if component.message != message {
                    component.message = message;
                    actions.push(Action::Publish(component.status()));
                }
            }
        }
    }

    fn start(&mut self, index: usize, now: Now, actions: &mut Vec<Action>) {
        self.runs += 1;
        let component = &mut self.components[index];
        component.run = self.runs;
        component.enter(Phase::Starting, String::new(), now);
        actions.push(Action::Publish(component.status()));
        actions.push(Action::Start {
            name: component.spec.name.clone(),
            run: component.run,
            spec: component.spec.clone(),
        });
    }

    /// Stops everything that nothing running comes after.
    fn stop_next(&mut self, now: Now, actions: &mut Vec<Action>) {
        loop {
            let mut changed = false;
            for index in 0..self.components.len() {
                let component = &self.components[index];
                let name = component.spec.name.clone();
                let needed = self
                    .components
                    .iter()
                    .any(|c| c.phase != Phase::Stopped && c.spec.after.contains(&name));
                let to_do = !matches!(
                    component.phase,
                    Phase::Stopped | Phase::Stopping(Then::Stay | Then::Forget)
                );
                if to_do && !needed {
                    self.end(&name, Then::Stay, now, actions);
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
        if !self.finished
            && self
                .components
                .iter()
                .all(|component| component.phase == Phase::Stopped)
        {
            self.finished = true;
            actions.push(Action::Finished);
        }
    }
}

fn exit_message(code: i32) -> String {
    if code > 128 {
        format!("ended by signal {}", code - 128)
    } else {
        format!("exited with code {code}")
    }
}
