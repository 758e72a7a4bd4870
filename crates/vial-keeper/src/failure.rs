//! What a failed operation tells the person: one line, a hint, an exit code.

use std::error::Error as StdError;
use std::io::ErrorKind;

use vial_engine::Error;
use vial_engine::template::TemplateError;

use crate::api::Event;
use crate::frozen;
use crate::nodes::Refused;
use crate::ports::{Conflict, Taken};

/// Exit codes of the command line that come from here.
mod code {
    pub(super) const FAILED: u8 = 1;
    pub(super) const BAD_INPUT: u8 = 2;
    pub(super) const NOT_FOUND: u8 = 3;
    pub(super) const NOT_PERMITTED: u8 = 4;
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
    if let Some(conflicting) = error.downcast_ref::<Conflict>() {
        return conflict(conflicting.to_string(), Some(conflicting.hint()));
    }
    if let Some(taken) = error.downcast_ref::<Taken>() {
        return conflict(taken.to_string(), Some(taken.hint()));
    }
    if let Some(refused) = error.downcast_ref::<Refused>() {
        return Event::Failed {
            message: refused.to_string(),
            hint: refused.hint(),
            code: match refused {
                Refused::Unknown { .. } => code::NOT_FOUND,
                Refused::Nothing(_) => code::BAD_INPUT,
                _ => code::CONFLICT,
            },
        };
    }
    if let Some(refused) = error.downcast_ref::<frozen::Refused>() {
        return conflict(refused.to_string(), Some(refused.hint()));
    }
    let engine = error.downcast_ref::<Error>();
    // Between processes an error is text: what the kernel says of EPERM and EROFS is the same everywhere.
    let refused = says(
        error,
        ErrorKind::PermissionDenied,
        "Operation not permitted",
    ) || says(
        error,
        ErrorKind::ReadOnlyFilesystem,
        "Read-only file system",
    );
    let hint = engine.and_then(Error::hint).or_else(|| {
        if refused {
            return Some("`vial doctor` shows what this machine does not let vial do".to_owned());
        }
        Some(format!("vial status {cluster} shows how far it came; vial up {cluster} tries again, vial down {cluster} removes it"))
    });
    let code = match engine {
        Some(Error::Template(TemplateError::Unknown { .. })) => code::NOT_FOUND,
        Some(Error::Template(TemplateError::Name { .. })) => code::BAD_INPUT,
        Some(
            Error::Unchangeable { .. }
            | Error::NoControlPlane { .. }
            | Error::Template(_)
            | Error::Unfit(_)
            | Error::NotFreezable { .. },
        ) => code::CONFLICT,
        _ if says(error, ErrorKind::StorageFull, "No space left on device") => code::NO_SPACE,
        _ if refused => code::NOT_PERMITTED,
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
    conflict(
        format!("cluster {cluster} is being removed: vial down ended this up"),
        None,
    )
}

/// The only event of an `up` that came during a `down`.
pub(crate) fn being_removed(cluster: &str) -> Event {
    conflict(
        format!("cluster {cluster} is being removed"),
        Some(format!("vial down {cluster} waits until it is gone")),
    )
}

/// The only event of what came while something else was at work.
pub(crate) fn busy(cluster: &str) -> Event {
    conflict(
        format!(
            "something else is at work on cluster {cluster}: an up, with another file or other flags, a change of its nodes, or a freeze"
        ),
        Some(format!(
            "vial up {cluster} without any shows it to its end, then try again; vial down {cluster} ends it"
        )),
    )
}

/// The last event of a repair that a person's `up` took the place of.
pub(crate) fn gave_way(cluster: &str) -> Event {
    conflict(format!("another up of cluster {cluster} began"), None)
}

fn conflict(message: String, hint: Option<String>) -> Event {
    Event::Failed {
        message,
        hint,
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

/// Is one of the causes of that kind, or does it quote one?
fn says(error: &(dyn StdError + 'static), kind: ErrorKind, text: &str) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let of_kind = |error: &std::io::Error| error.kind() == kind;
        if error.downcast_ref::<std::io::Error>().is_some_and(of_kind)
            || error.to_string().contains(text)
        {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot make the sandbox")]
    struct Refused(#[source] std::io::Error);

    #[test]
    fn the_code_follows_from_the_cause_or_its_words() {
        let told = |cause: std::io::Error| match event("c", &Refused(cause)) {
            Event::Failed { code, hint, .. } => (code, hint.unwrap_or_default()),
            other => panic!("{other:?}"),
        };
        let words = "unshare namespaces: Operation not permitted (os error 1)";
        let (code, hint) = told(std::io::Error::other(words));
        assert!(code == code::NOT_PERMITTED && hint.contains("vial doctor"));
        let full = "write x: No space left on device (os error 28)";
        assert_eq!(told(std::io::Error::other(full)).0, code::NO_SPACE);
        assert_eq!(told(ErrorKind::StorageFull.into()).0, code::NO_SPACE);
        let (code, hint) = told(ErrorKind::NotFound.into());
        assert!(code == code::FAILED && hint.contains("vial down c"));
    }
}
