//! A node that is a virtual machine: how large it is, what its kernel is told, what QEMU is told besides.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster::Role;
use crate::devices::{DiskContent, ExtraDisk, Nic, usual_mac};
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

/// What becomes of a machine that ends by itself: its guest switched it off, its kernel panicked, QEMU crashed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Restart {
    /// It starts again.
    #[default]
    Always,
    /// It stays as it is, to be looked at, until it is started by command.
    Never,
}

/// The size of a huge page of x86-64 (kernel: Documentation/admin-guide/mm/hugetlbpage.rst).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum PageSize {
    /// 2 MiB.
    #[serde(rename = "2Mi")]
    TwoMi,
    /// 1 GiB.
    #[serde(rename = "1Gi")]
    OneGi,
}

impl PageSize {
    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        match self {
            Self::TwoMi => 2 << 20,
            Self::OneGi => 1 << 30,
        }
    }
}

impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Size::from_bytes(self.bytes()).fmt(f)
    }
}

/// A part of the machine whose processors are near to its memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NumaNode {
    /// How many of the processors; numbered on from those of the part before.
    pub cpus: u32,
    /// How much of the memory.
    pub memory: Size,
    /// To every part, in their order (ACPI: SLIT): 10 is itself. Empty: 10, and 20 to all others.
    pub distances: Vec<u8>,
}

/// A kernel of the person's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnKernel {
    /// On the host: a bzImage, or the ELF file.
    pub file: PathBuf,
    /// On the host: the directory with `modules.dep`. `None`: all that is needed is part of the kernel.
    pub modules: Option<PathBuf>,
}

/// A virtual machine; every default filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Machine {
    /// Virtual processors.
    pub cpus: u32,
    /// Memory of the guest.
    pub memory: Size,
    /// The guest's writable disk; sparse: on the host it takes what was written.
    pub disk: Size,
    /// What a flush is worth.
    pub disk_cache: DiskCache,
    /// No writable disk: what is written is in the guest's memory, and gone when it ends.
    pub ephemeral: bool,
    /// Of swap; `None` for none.
    pub swap: Option<Size>,
    /// The machine's parts; empty: it is one.
    pub numa: Vec<NumaNode>,
    /// Memory that is set aside in huge pages, by their size.
    pub huge_pages: BTreeMap<PageSize, Size>,
    /// More disks.
    pub disks: Vec<ExtraDisk>,
    /// More network interfaces: eth1, eth2, … in their order.
    pub nics: Vec<Nic>,
    /// Instead of the node image's.
    pub kernel: Option<OwnKernel>,
    /// More words for the kernel's command line, as they stand.
    pub kernel_args: Vec<String>,
    /// Kernel modules that are loaded at boot, beside those that nodes need.
    pub modules: Vec<String>,
    /// Kernel settings (sysctl(8)) of the guest: `vm.max_map_count: "262144"`.
    pub sysctls: BTreeMap<String, String>,
    /// It has a screen and a keyboard, which are looked at from the host.
    pub display: bool,
    /// More arguments for QEMU, as they stand.
    pub qemu_args: Vec<String>,
    /// What becomes of it when it ends by itself.
    #[serde(default)]
    pub restart: Restart,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            cpus: 2,
            memory: Size::from_bytes(2 << 30),
            disk: Size::from_bytes(20 << 30),
            disk_cache: DiskCache::default(),
            ephemeral: false,
            swap: None,
            numa: Vec::new(),
            huge_pages: BTreeMap::new(),
            disks: Vec::new(),
            nics: Vec::new(),
            kernel: None,
            kernel_args: Vec::new(),
            modules: Vec::new(),
            sysctls: BTreeMap::new(),
            display: false,
            qemu_args: Vec::new(),
            restart: Restart::default(),
        }
    }
}

impl Machine {
    /// Another one of this shape: without files of the host, and without addresses, which no two may have.
    #[must_use]
    pub fn like(&self) -> Self {
        let mut machine = self.clone();
        let is_file = |disk: &ExtraDisk| matches!(disk.content, DiskContent::File { .. });
        machine.disks.retain(|disk| !is_file(disk));
        for nic in &mut machine.nics {
            nic.addresses.clear();
        }
        machine
    }

    /// The same one as a node of its own: its hardware addresses are no other node's.
    #[must_use]
    pub fn of(mut self, role: Role, ordinal: u32) -> Self {
        for (nic, number) in self.nics.iter_mut().zip(1..) {
            nic.mac = usual_mac(number, role, ordinal);
        }
        self
    }

    /// The disks that are files of the host, and these.
    pub fn files(&self) -> impl Iterator<Item = (&ExtraDisk, &Path)> {
        self.disks.iter().filter_map(|disk| match &disk.content {
            DiskContent::File { path, .. } => Some((disk, path.as_path())),
            DiskContent::Empty(_) => None,
        })
    }
}
