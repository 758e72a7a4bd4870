//! Disks and network interfaces that a virtual machine has beside those of every node.

use std::path::PathBuf;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster::Role;
use crate::size::Size;

/// How a disk is attached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Bus {
    /// virtio-blk: `/dev/vd…`.
    #[default]
    Virtio,
    /// An NVMe controller with one namespace: `/dev/nvme…n1`.
    Nvme,
    /// A disk of a virtio-scsi controller: `/dev/sd…`.
    Scsi,
    /// A stick at a USB 3 controller: `/dev/sd…`.
    Usb,
}

/// What is on a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DiskContent {
    /// Nothing at first; a sparse file, which goes with the node, or with the cluster when it is shared.
    Empty(Size),
    /// A file of the host, used in place.
    File {
        /// Absolute.
        path: PathBuf,
        /// What it holds.
        format: DiskFormat,
    },
}

/// What the file of a disk holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DiskFormat {
    /// The disk's bytes.
    #[default]
    Raw,
    /// QEMU's own format.
    Qcow2,
}

/// A disk beside the machine's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExtraDisk {
    /// Its serial; the guest has it as `/dev/disk/by-id/NAME` too.
    pub name: String,
    /// How it is attached.
    pub bus: Bus,
    /// What is on it.
    pub content: DiskContent,
    /// Other nodes have the disk of this name too.
    pub shared: bool,
    /// The guest cannot write to it.
    pub read_only: bool,
}

/// What hardware a network interface is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NicModel {
    /// virtio-net.
    #[default]
    Virtio,
    /// VMware's.
    Vmxnet3,
    /// Intel's 82540EM, of 2002.
    E1000,
    /// Intel's 82574L.
    E1000e,
    /// Intel's 82576.
    Igb,
}

/// A network interface beside eth0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Nic {
    /// The network it is on: a bridge of the sandbox, made for all who name it. [`MGMT`] is the nodes' own.
    pub network: String,
    /// What it is.
    pub model: NicModel,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Of the guest on it; empty: it is up and has none.
    pub addresses: Vec<IpNet>,
}

/// The network of all nodes.
pub const MGMT: &str = "mgmt";

/// The hardware address of a machine's interface, of which 0 is eth0: locally administered, unicast (IEEE 802c).
#[must_use]
pub fn usual_mac(number: u8, role: Role, ordinal: u32) -> [u8; 6] {
    let role = match role {
        Role::ControlPlane => 0,
        Role::Worker => 1,
    };
    let ordinal = u8::try_from(ordinal).unwrap_or_default();
    [0x02, 0, 0, number, role, ordinal]
}

/// `02:00:00:01:01:03`.
#[must_use]
pub fn mac_text(mac: [u8; 6]) -> String {
    let parts = mac.iter().map(|byte| format!("{byte:02x}"));
    parts.collect::<Vec<_>>().join(":")
}
