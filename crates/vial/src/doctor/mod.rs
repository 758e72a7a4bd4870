//! What vial needs of a machine, found out without changing anything; each finding with its mend.
//!
//! Findings are made by trying where that is cheap and harmless (a bridge in a network namespace that is thrown away, a
//! guest of a few bytes),
//! otherwise by reading what the kernel says of itself.

mod guests;
mod kernel;
mod machine;
mod vial;

use serde::Serialize;
use vial_engine::paths::Paths;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// As it should be.
    Ok,
    /// Worth knowing, nothing to do.
    Info,
    /// Works, with something missing.
    Warn,
    /// vial cannot work.
    Fail,
}

/// One thing that vial needs.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Finding {
    /// What is needed: `overlayfs`.
    pub(crate) requirement: &'static str,
    /// Is it there?
    pub(crate) state: State,
    /// What was seen.
    pub(crate) found: String,
    /// What to do, unless all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mend: Option<String>,
}

impl Finding {
    fn ok(requirement: &'static str, found: impl Into<String>) -> Self {
        Self {
            requirement,
            state: State::Ok,
            found: found.into(),
            mend: None,
        }
    }

    fn info(requirement: &'static str, found: impl Into<String>) -> Self {
        Self {
            state: State::Info,
            ..Self::ok(requirement, found)
        }
    }

    fn warn(requirement: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            requirement,
            state: State::Warn,
            found: found.into(),
            mend: Some(mend.into()),
        }
    }

    fn fail(requirement: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            requirement,
            state: State::Fail,
            found: found.into(),
            mend: Some(mend.into()),
        }
    }
}

/// Looks at everything.
pub(crate) async fn examine(paths: &Paths, root: bool) -> Vec<Finding> {
    let mut findings = vec![machine::root(root), kernel::version()];
    // Clusters of ordinary users have a kernel of their own.
    if root {
        findings.extend([kernel::namespaces(), kernel::overlayfs()]);
        findings.extend(kernel::cgroups());
        findings.extend(kernel::network());
        findings.extend(machine::inotify());
        findings.extend(machine::devices());
    }
    findings.push(machine::memory());
    findings.push(machine::space(&paths.home));
    findings.push(guests::accelerator(paths, root).await);
    findings.extend(vial::node_image(&paths.home, root));
    findings.push(vial::registry_cache(paths));
    findings.push(vial::kubeconfig());
    findings
}

/// Reads a file of the kernel as text; empty when it is not there.
fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
