//! What is written of a virtual machine's further disks and network interfaces.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::is_default;
use crate::size::Size;
use crate::{Bus, DiskFormat, NicModel};

/// A disk of a virtual machine; either `size` or `file` says what is on it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DiskEntry {
    /// Its serial, at most 20 lower-case letters, digits and `-`; in the guest `/dev/disk/by-id/NAME`.
    pub name: String,
    /// How it is attached; `virtio` unless given. The node image's kernel has no driver for `usb`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub bus: Bus,
    /// An empty disk, a sparse file that goes with the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// A file of the host, used in place; relative to the directory of vial.yaml.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// What `file` holds: `qcow2` where its name ends so, else `raw`, unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<DiskFormat>,
    /// One disk for all nodes that have one of this name, all of them `shared`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub shared: bool,
    /// Refuse writes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub read_only: bool,
}

/// A network interface of a virtual machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NicEntry {
    /// The network it is on, made for all who name it: at most 11 lower-case letters, digits and `-`. `mgmt` is the one
    /// that all nodes are on.
    pub network: String,
    /// What it is; `virtio` unless given. The node image's kernel has drivers for `virtio` and `vmxnet3`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub model: NicModel,
    /// Its hardware address; one that no other node has unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$"))]
    pub mac: Option<String>,
    /// Addresses of the guest on it, with their prefixes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("examples" = [["192.168.7.3/24", "fd07::3/64"]]))]
    pub addresses: Vec<String>,
}
