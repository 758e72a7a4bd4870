//! What a person asks of a build, and what a build tells meanwhile.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where Kubernetes binaries come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A directory when one is given, else release files when the site answers quickly, else Go modules.
    #[default]
    Auto,
    /// A developer's own build: [`BuildOptions::k8s_bin`].
    Dir,
    /// Files in the layout of the upstream release site, each with its `.sha256`.
    Release,
    /// Go modules pinned in `components/`, built with the machine's `go`.
    Go,
}

/// What to build.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BuildOptions {
    /// `v1.36.3`, `1.36.3` or `1.36`; with `dir`, the directory's own version wins.
    pub kubernetes: String,
    /// Where Kubernetes binaries come from.
    pub source: Source,
    /// For `dir`: a directory with `kubelet` and the others, or a Kubernetes checkout with `_output/`.
    pub k8s_bin: Option<PathBuf>,
    /// For `release`: `BASE/v1.36.3/bin/linux/amd64/kubelet` is fetched. `https://dl.k8s.io` when `None`.
    pub release_url: Option<String>,
    /// Debian suite.
    pub suite: String,
    /// Debian archive; the official one when `None`.
    pub mirror: Option<String>,
    /// Keys that the archive may be signed with; the embedded Debian keys when `None`.
    pub keyring: Option<PathBuf>,
    /// Accept a Release file whose time of validity is over.
    pub allow_expired: bool,
    /// `NAME:TAG`; `vial/node:VERSION` when `None`.
    pub tag: Option<String>,
    /// Put QEMU and a guest kernel in, for nodes that are virtual machines.
    pub vm: bool,
    /// Ask the Debian archive again even when a package list is cached.
    pub refresh: bool,
}

impl Default for BuildOptions {
    fn default() -> Self {
        Self {
            kubernetes: "v1.36.3".into(),
            source: Source::Auto,
            k8s_bin: None,
            release_url: None,
            suite: "trixie".into(),
            mirror: None,
            keyring: None,
            allow_expired: false,
            tag: None,
            vm: true,
            refresh: false,
        }
    }
}

/// What a build does at the moment. Steps overlap; `id` tells them apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase")]
pub enum Progress {
    /// A step began.
    Started {
        /// `go/kubernetes-1.36`.
        id: String,
        /// For people: `build kubernetes v1.36.3 from its Go module`.
        title: String,
    },
    /// A step is on its way.
    Update {
        /// As in `Started`.
        id: String,
        /// `12 of 143 packages`.
        detail: String,
    },
    /// A step ended well.
    Finished {
        /// As in `Started`.
        id: String,
        /// Nothing had to be done: its result was there.
        cached: bool,
    },
    /// Something to tell the person.
    Note {
        /// One line.
        text: String,
    },
}

/// Where progress goes.
pub(crate) type Report<'a> = &'a (dyn Fn(Progress) + Send + Sync);
