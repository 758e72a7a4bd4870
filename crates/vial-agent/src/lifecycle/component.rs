//! One component as the lifecycle knows it, and how it is shown to others.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use vial_rpc::component_status::State;
use vial_rpc::{ComponentSpec, ComponentStatus};

use super::{DEFAULT_GRACE, Now};

/// Where in its life a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Waiting,
    /// Has a process, or is just getting it.
    Starting,
    /// Has a process that answered its probe.
    Ready,
    /// Ran once, to its good end.
    Done,
    /// `ran`: it had a process, so that the next start is a restart.
    Backoff {
        ran: bool,
    },
    /// Has a process that was told to end.
    Stopping(Then),
    Stopped,
}

/// What follows the end of a process that was told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    Start,
    Forget,
    Stay,
}

#[derive(Debug)]
pub(super) struct Component {
    /// The wanted one; while stopping, the process may still be of an older one.
    pub(super) spec: Arc<ComponentSpec>,
    pub(super) digest: String,
    pub(super) phase: Phase,
    /// The number of the present or last process.
    pub(super) run: u64,
    /// The number of the only timer that counts.
    pub(super) timer: u64,
    pub(super) pid: i32,
    pub(super) restarts: u32,
    /// In a row; decides the delay of the next start.
    pub(super) crashes: u32,
    pub(super) last_exit_code: i32,
    pub(super) ready_since: Duration,
    since_unix_ms: u64,
    pub(super) message: String,
}

impl Component {
    pub(super) fn new(spec: ComponentSpec, now: Now) -> Self {
        Self {
            digest: digest(&spec),
            spec: Arc::new(spec),
            phase: Phase::Waiting,
            run: 0,
            timer: 0,
            pid: 0,
            restarts: 0,
            crashes: 0,
            last_exit_code: 0,
            ready_since: Duration::ZERO,
            since_unix_ms: now.unix_ms,
            message: String::new(),
        }
    }

    pub(super) fn set_spec(&mut self, spec: ComponentSpec) {
        self.digest = digest(&spec);
        self.spec = Arc::new(spec);
    }

    pub(super) fn enter(&mut self, phase: Phase, message: String, now: Now) {
        self.phase = phase;
        self.message = message;
        self.since_unix_ms = now.unix_ms;
        self.timer = 0;
    }

    pub(super) fn enter_ready(&mut self, now: Now) {
        self.enter(Phase::Ready, String::new(), now);
        self.ready_since = now.elapsed;
    }

    pub(super) fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready | Phase::Done)
    }

    pub(super) fn grace(&self) -> Duration {
        match self.spec.stop_grace_ms {
            0 => DEFAULT_GRACE,
            milliseconds => Duration::from_millis(milliseconds),
        }
    }

    pub(super) fn status(&self) -> ComponentStatus {
        let state = match self.phase {
            Phase::Waiting => State::Waiting,
            Phase::Starting => State::Starting,
            Phase::Ready | Phase::Done => State::Ready,
            Phase::Backoff { .. } => State::Backoff,
            Phase::Stopping(_) => State::Stopping,
            Phase::Stopped => State::Stopped,
        };
        ComponentStatus {
            name: self.spec.name.clone(),
            state: state.into(),
            pid: self.pid,
            restarts: self.restarts,
            last_exit_code: self.last_exit_code,
            since_unix_ms: self.since_unix_ms,
            spec_digest: self.digest.clone(),
            message: self.message.clone(),
        }
    }
}

/// SHA-256, in hexadecimal, of the spec's encoding, which is canonical: fields in order of their numbers, maps sorted.
pub(super) fn digest(spec: &ComponentSpec) -> String {
    Sha256::digest(spec.encode_to_vec())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
