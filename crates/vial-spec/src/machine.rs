//! A node that is a virtual machine: how large it is, what its kernel is told, what QEMU is told besides.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::size::Size;

/// How a node is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// Namespaces and control groups on the kernel of the host.
    #[default]
    Container,
    /// A virtual machine of QEMU with a kernel of its own.
    Vm,
}

/// What a guest's flush of its disk is worth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DiskCache {
    /// What the guest has flushed (fsync(2)) is on the host's disk.
    #[default]
    Safe,
    /// Flushes do nothing: faster, and lost with the host's power.
    Unsafe,
}

/// A virtual machine; every default filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// Virtual processors.
    pub cpus: u32,
    /// Memory of the guest.
    pub memory: Size,
    /// The guest's writable disk; sparse: on the host it takes what was written.
    pub disk: Size,
    /// What a flush is worth.
    pub disk_cache: DiskCache,
    /// More words for the kernel's command line, as they stand.
    pub kernel_args: Vec<String>,
    /// Kernel modules that are loaded at boot, beside those that nodes need.
    pub modules: Vec<String>,
    /// Kernel settings (sysctl(8)) of the guest: `vm.max_map_count: "262144"`.
    pub sysctls: BTreeMap<String, String>,
    /// More arguments for QEMU, as they stand.
    pub qemu_args: Vec<String>,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            cpus: 2,
            memory: Size::from_bytes(2 << 30),
            disk: Size::from_bytes(20 << 30),
            disk_cache: DiskCache::default(),
            kernel_args: Vec::new(),
            modules: Vec::new(),
            sysctls: BTreeMap::new(),
            qemu_args: Vec::new(),
        }
    }
}
