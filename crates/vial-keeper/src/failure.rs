//! What a failed operation tells the person: one line, a hint, an exit code.

use std::error::Error as StdError;

use vial_engine::Error;

use crate::api::Event;

/// Exit codes of the command line that come from here.
mod code {
    pub(super) const FAILED: u8 = 1;
    pub(super) const NOT_FOUND: u8 = 3;
    pub(super) const CONFLICT: u8 = 5;
    pub(super) const NO_SPACE: u8 = 6;
}

/// An error and its causes, joined by `: `.
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let line = error.to_string();
        // Some libraries repeat their cause in their own text.
        if !text.ends_with(&line) {
            text.push_str(": ");
            text.push_str(&line);
        }
        cause = error.source();
    }
    text
}

/// The last event of a failed operation.
pub(crate) fn event(cluster: &str, error: &(dyn StdError + 'static)) -> Event {
    let engine = error.downcast_ref::<Error>();
    let hint = engine.and_then(Error::hint).or_else(|| {
        Some(format!("vial status {cluster} shows how far it came; vial up {cluster} tries again, vial down {cluster} removes it"))
    });
    let code = match engine {
        Some(Error::Unchangeable { .. }) => code::CONFLICT,
        _ if out_of_space(error) => code::NO_SPACE,
        _ => code::FAILED,
    };
    Event::Failed {
        message: chain(error),
        hint,
        code,
    }
}

/// The last event of an `up` that a `down` ended.
pub(crate) fn cancelled(cluster: &str) -> Event {
    let message = format!("cluster {cluster} is being removed: vial down ended this up");
    Event::Failed {
        message,
        hint: None,
        code: code::CONFLICT,
    }
}

/// The cluster's image is not there any more.
pub(crate) fn no_image(message: String, hint: String) -> Event {
    Event::Failed {
        message,
        hint: Some(hint),
        code: code::NOT_FOUND,
    }
}

fn out_of_space(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let full = |error: &std::io::Error| error.kind() == std::io::ErrorKind::StorageFull;
        if error.downcast_ref::<std::io::Error>().is_some_and(full)
            || error.to_string().contains("No space left on device")
        {
            return true;
        }
        cause = error.source();
    }
    false
}
