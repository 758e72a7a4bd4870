//! The Debian side of a node image, as a build sees it: locked packages and root file systems.

use std::path::Path;

use crate::digest::Digest;
use crate::error::Result;
use crate::options::{BuildOptions, Report};
use crate::sbom::DebianPackage;

/// Which root file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Of a node.
    Node,
    /// Of the container image that people debug with.
    Toolbox,
    /// QEMU and a guest kernel.
    Vm,
}

impl Kind {
    /// `node`, `toolbox`, `vm`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Toolbox => "toolbox",
            Self::Vm => "vm",
        }
    }
}

/// The packages of every root file system, chosen and verified.
#[derive(Debug)]
pub(crate) struct Base;

impl Base {
    pub(crate) async fn lock(_options: &BuildOptions, _home: &Path, _report: Report<'_>) -> Result<Self> {
        Ok(Self)
    }

    pub(crate) fn inputs(&self, kind: Kind) -> Digest {
        Digest::of(kind.name().as_bytes())
    }

    pub(crate) fn packages(&self, _vm: bool) -> Vec<DebianPackage> {
        Vec::new()
    }

    pub(crate) async fn build(&self, _kind: Kind, root: &Path, _id: &str, _report: Report<'_>) -> Result<()> {
        std::fs::create_dir_all(root).ok();
        Ok(())
    }
}
