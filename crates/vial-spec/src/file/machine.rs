//! What is written of a node that is a virtual machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::devices::{DiskEntry, NicEntry};
use super::{Scalar, is_default};
use crate::size::Size;
use crate::{DiskCache, PageSize, Restart};

/// The virtual machine of a node whose `driver` is `vm`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MachineEntry {
    /// Virtual processors: 1 to 64; 2 unless given, or what `numa` sums up to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub cpus: Option<u32>,
    /// Memory: at least 512Mi; 2Gi unless given, or what `numa` sums up to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// The writable disk: at least 1Gi; 20Gi unless given. It takes what is written, no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<Size>,
    /// What a flush of the guest is worth: `safe` unless given, `unsafe` is faster and lost with the host's power.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_cache: Option<DiskCache>,
    /// No writable disk: what is written takes memory of the guest, and is gone whenever the machine ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ephemeral: Option<bool>,
    /// So much swap, on a disk of its own; pods may use it in proportion to the memory they request (`LimitedSwap`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap: Option<Size>,
    /// The parts of a machine whose memory is not everywhere equally near (NUMA), at most 8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub numa: Vec<NumaEntry>,
    /// Memory that is set aside at boot in huge pages, by their size, as a multiple of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("examples" = [{"2Mi": "128Mi", "1Gi": "1Gi"}]))]
    pub huge_pages: BTreeMap<PageSize, Size>,
    /// More disks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<DiskEntry>,
    /// More network interfaces: eth1, eth2, … in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nics: Vec<NicEntry>,
    /// A kernel instead of the node image's: a file of the host, bzImage or ELF; relative to the directory of vial.yaml.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<PathBuf>,
    /// Its modules: the directory with `modules.dep` (`/lib/modules/VERSION`). Without them all drivers have to be part
    /// of the kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_modules: Option<PathBuf>,
    /// More words for the kernel's command line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernel_args: Vec<String>,
    /// Kernel modules to load at boot, beside those that nodes need.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<String>,
    /// Kernel settings of the guest (sysctl).
    #[serde(default, skip_serializing_if = "is_default")]
    pub sysctls: BTreeMap<String, Scalar>,
    /// A screen (VGA) and a keyboard: `vial screenshot` and `vial vnc` show it. None unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display: Option<bool>,
    /// More arguments for QEMU, as they stand: a way out for what vial has no word for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub qemu_args: Vec<String>,
    /// What becomes of it when it ends by itself, be it a panic or a power-off: `always` (unless given) starts it again,
    /// `never` leaves it to be looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
}

/// A part of a machine whose processors are near to its memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NumaEntry {
    /// How many of the processors; none unless given.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cpus: u32,
    /// How much of the memory.
    pub memory: Size,
    /// To every part, in their order, 10 to itself and 11 to 254 to others; 20 to all others unless given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub distances: Vec<u8>,
}

impl MachineEntry {
    /// Files of the host that are named relatively are meant below `directory`.
    pub(super) fn resolve_paths(&mut self, directory: &Path) {
        let own = [&mut self.kernel, &mut self.kernel_modules];
        let disks = self.disks.iter_mut().map(|disk| &mut disk.file);
        for path in own.into_iter().chain(disks).flatten() {
            *path = directory.join(&*path);
        }
    }
}
