//! What the Debian side tells while it works.

/// Where it stands: one line of a progress display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// What is going on: "fetching package lists", "fetching packages", "unpacking", "configuring".
    pub phase: &'static str,
    /// With what: a file or package name.
    pub item: String,
    /// How far, in bytes or packages of the phase.
    pub done: u64,
    /// How far it goes, when that is known.
    pub total: Option<u64>,
}

/// Takes what is told; called from any thread, also often.
pub type Report<'a> = &'a (dyn Fn(Progress) + Send + Sync);
