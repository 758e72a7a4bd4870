//! Where things are gathered: each source by itself, so that one that is stuck holds nobody up.

pub(super) mod disk;
pub(super) mod host;
pub(super) mod keeper;
pub(super) mod kubernetes;
pub(super) mod nodes;
mod processes;
mod tree;

use std::error::Error as StdError;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::error::chain;

/// Something for the archive, as it was found: nothing is removed yet.
#[derive(Debug)]
pub(super) struct Piece {
    /// Its place in the archive.
    pub(super) path: String,
    /// For the index.
    pub(super) what: String,
    pub(super) wrote: Wrote,
}

/// What was found.
#[derive(Debug)]
pub(super) enum Wrote {
    /// As it is.
    Text(String),
    /// Written as JSON.
    Json(Value),
    /// Written as YAML.
    Yaml(Value),
    /// The record of a cluster, with what it shall be in `spec`.
    Specification(Value),
    /// Nothing, and why.
    Nothing(String),
}

/// Takes pieces.
#[derive(Debug, Clone)]
pub(super) struct Tray(mpsc::UnboundedSender<Piece>);

impl Tray {
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<Piece>) {
        let (sender, pieces) = mpsc::unbounded_channel();
        (Self(sender), pieces)
    }

    /// Text, or why there is none.
    pub(super) fn text<E: StdError>(
        &self,
        path: impl Into<String>,
        what: &str,
        text: Result<String, E>,
    ) {
        let wrote = match text {
            Ok(text) => Wrote::Text(text),
            Err(error) => Wrote::Nothing(chain(&error)),
        };
        self.add(path, what, wrote);
    }

    /// Data, or why there is none.
    pub(super) fn json<T: Serialize, E: StdError>(
        &self,
        path: &str,
        what: &str,
        data: Result<T, E>,
    ) {
        let wrote = match data.map(|data| serde_json::to_value(data)) {
            Ok(Ok(value)) => Wrote::Json(value),
            Ok(Err(error)) => Wrote::Nothing(chain(&error)),
            Err(error) => Wrote::Nothing(chain(&error)),
        };
        self.add(path, what, wrote);
    }

    /// Nothing, and why.
    pub(super) fn nothing(&self, path: impl Into<String>, what: &str, why: impl Into<String>) {
        self.add(path, what, Wrote::Nothing(why.into()));
    }

    /// A gatherer was not done in time.
    pub(super) fn late(&self, place: &str, title: &str, limit: Duration) {
        let why = format!(
            "not done within {} seconds; what came until then is here",
            limit.as_secs()
        );
        self.nothing(place, title, why);
    }

    pub(super) fn add(&self, path: impl Into<String>, what: &str, wrote: Wrote) {
        // Nobody takes it when the archive cannot be written.
        let _ = self.0.send(Piece {
            path: path.into(),
            what: what.to_owned(),
            wrote,
        });
    }
}

/// Why there is no answer.
fn late(limit: Duration) -> String {
    format!("no answer within {} seconds", limit.as_secs())
}
