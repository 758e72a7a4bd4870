//! One up, down or change of nodes at a time, and everybody who watches it.
//!
//! ```text
//! running ──(finish)──► finished      watchers see all events from the first one, whenever they come
//! ```

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures::Stream;
use tokio::sync::watch;
use vial_engine::progress::{Progress, Reporter};

use crate::api::{Event, NodesRequest, StateRequest, ThawRequest, UpRequest};

/// What is being done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// To this state.
    Up(Box<UpRequest>),
    /// Something becomes of single nodes.
    Nodes(NodesRequest),
    /// Something becomes of all that runs.
    State(StateRequest),
    /// It is made of a template.
    Thaw(ThawRequest),
    /// The end of the cluster.
    Down,
    /// Container images come to its nodes, or go. It does not keep an `up` or a `down` from beginning.
    Images,
}

/// On whose behalf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// Somebody typed a command.
    Person,
    /// The keeper brings back what fell; it gives way to a person.
    Keeper,
}

/// A running or finished operation.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) kind: Kind,
    pub(crate) by: By,
    begun: Instant,
    events: Mutex<Vec<Event>>,
    /// Number of events so far; and whether the last one is there.
    seen: watch::Sender<(usize, bool)>,
}

impl Operation {
    pub(crate) fn new(kind: Kind, by: By) -> Arc<Self> {
        Arc::new(Self {
            kind,
            by,
            begun: Instant::now(),
            events: Mutex::default(),
            seen: watch::Sender::new((0, false)),
        })
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.seen.borrow().1
    }

    /// An operation that is refused before it begins: its only event says why.
    pub(crate) fn refused(kind: Kind, by: By, why: Event) -> Arc<Self> {
        let operation = Self::new(kind, by);
        operation.tell(why);
        operation
    }

    /// Why it failed, once it has.
    pub(crate) fn failure(&self) -> Option<String> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        match events.last() {
            Some(Event::Failed { message, .. }) => Some(message.clone()),
            _ => None,
        }
    }

    /// Resolves when the last event is there.
    pub(crate) async fn finished(&self) {
        // The sender lives as long as `self`.
        let _ = self.seen.subscribe().wait_for(|seen| seen.1).await;
    }

    /// Adds an event; nothing is added after the last one (`done` or `failed`).
    pub(crate) fn tell(&self, event: Event) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_finished() {
            return;
        }
        let last = matches!(event, Event::Done { .. } | Event::Failed { .. });
        events.push(event);
        self.seen.send_replace((events.len(), last));
    }

    /// For the engine.
    pub(crate) fn reporter(self: &Arc<Self>) -> Reporter {
        let operation = Arc::clone(self);
        Arc::new(move |progress| {
            let at_us = u64::try_from(operation.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
            operation.tell(match progress {
                Progress::Started { id, title, node } => Event::Started {
                    id,
                    title,
                    node,
                    at_us,
                },
                Progress::Finished { id } => Event::Finished { id, at_us },
                Progress::Note { text, .. } => Event::Note { text },
            });
        })
    }

    /// All events from the first to the last.
    pub(crate) fn events(self: &Arc<Self>) -> impl Stream<Item = Event> + use<> {
        let operation = Arc::clone(self);
        let seen = self.seen.subscribe();
        futures::stream::unfold(
            (operation, seen, 0),
            |(operation, mut seen, next)| async move {
                let (count, finished) = *seen
                    .wait_for(|(count, finished)| *count > next || *finished)
                    .await
                    .ok()?;
                if next >= count && finished {
                    return None;
                }
                let event = operation
                    .events
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get(next)
                    .cloned()?;
                Some((event, (operation, seen, next + 1)))
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;

    fn note(text: &str) -> Event {
        Event::Note { text: text.into() }
    }

    #[tokio::test]
    async fn a_late_watcher_sees_everything_and_nothing_follows_the_end() {
        let operation = Operation::new(Kind::Down, By::Person);
        operation.tell(note("a"));
        let early = operation.events();
        operation.tell(Event::Done { status: None });
        operation.tell(note("late"));
        assert!(operation.is_finished());
        operation.finished().await;
        assert_eq!(early.count().await, 2);
        assert_eq!(operation.events().count().await, 2);
    }
}
