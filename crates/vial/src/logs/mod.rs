//! Logs of many places of a cluster as one, in the order of time.
//!
//! ```text
//! names, status ──place (pure)──► places ──pump, one task each──► lines with times ──merge──► in order ──show──► stdout
//! ```
//! A pump keeps its place's stream: it opens it, and when following opens it again where it ended, until the cluster is
//! gone. What is there is merged exactly; what comes is held back for a moment, since agents are not asked at one time.

pub(crate) mod merge;
pub(crate) mod place;
pub(crate) mod pump;
pub(crate) mod show;

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Microseconds since 1970-01-01T00:00:00Z.
    pub(crate) time: i64,
    /// With its newline; need not be text.
    pub(crate) text: Vec<u8>,
}
