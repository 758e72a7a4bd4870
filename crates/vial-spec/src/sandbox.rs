//! What the sandbox of a cluster is made of, and how large it is where it is a machine.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::size::Size;

/// Who makes the sandbox, as it is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Maker {
    /// `namespace` for root, `vm` for everybody else.
    #[default]
    Auto,
    /// Namespaces and control groups on the kernel of the host: needs root, and is as fast as the host.
    Namespace,
    /// One virtual machine that holds the whole cluster: needs no right at all.
    Vm,
}

/// What a sandbox is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "maker")]
pub enum SandboxConfig {
    /// Namespaces and control groups.
    #[default]
    Namespace,
    /// One virtual machine.
    Vm(SandboxMachine),
}

/// A virtual machine that holds a whole cluster; every default filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SandboxMachine {
    /// Virtual processors.
    pub cpus: u32,
    /// Memory of the guest.
    pub memory: Size,
    /// The guest's writable disk; sparse: on the host it takes what was written.
    pub disk: Size,
}

impl Default for SandboxMachine {
    fn default() -> Self {
        Self {
            cpus: 2,
            memory: Size::from_bytes(4 << 30),
            disk: Size::from_bytes(40 << 30),
        }
    }
}

impl SandboxConfig {
    /// The machine that it is; `None` for namespaces.
    #[must_use]
    pub fn machine(&self) -> Option<&SandboxMachine> {
        match self {
            Self::Namespace => None,
            Self::Vm(machine) => Some(machine),
        }
    }
}
