//! What is written of a node that is a virtual machine.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Scalar, is_default};
use crate::DiskCache;
use crate::size::Size;

/// The virtual machine of a node whose `driver` is `vm`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MachineEntry {
    /// Virtual processors: 1 to 64; 2 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub cpus: Option<u32>,
    /// Memory: at least 512Mi; 2Gi unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// The writable disk: at least 1Gi; 20Gi unless given. It takes what is written, no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<Size>,
    /// What a flush of the guest is worth: `safe` unless given, `unsafe` is faster and lost with the host's power.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_cache: Option<DiskCache>,
    /// More words for the kernel's command line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernel_args: Vec<String>,
    /// Kernel modules to load at boot, beside those that nodes need.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<String>,
    /// Kernel settings of the guest (sysctl).
    #[serde(default, skip_serializing_if = "is_default")]
    pub sysctls: BTreeMap<String, Scalar>,
    /// More arguments for QEMU, as they stand: a way out for what vial has no word for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub qemu_args: Vec<String>,
}
