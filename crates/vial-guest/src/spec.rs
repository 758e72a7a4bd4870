//! What a machine is told about itself: written by who plans it, as JSON, read by its PID 1.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use vial_sys::{During as _, SysError};

/// Where it lies in the guest, as vial-boot leaves it.
pub(crate) const PATH: &str = "/run/vial/machine.json";

/// All that one machine has to know before its agent serves.
///
/// Paths of the machine's own disk are relative to its root; they are [`DATA`](crate::DATA) in the guest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MachineSpec {
    /// Its host name: the node's, or the cluster's.
    pub name: String,
    /// What becomes of it.
    #[serde(default)]
    pub role: Role,
    /// 32 hexadecimal digits (machine-id(5)).
    pub machine_id: String,
    /// Milliseconds since 1970 when it was planned: its clock is not to be behind.
    pub unix_ms: u64,
    /// Of the agent and of what it starts.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Made once, before the mounts.
    #[serde(default)]
    pub clones: Vec<Clone>,
    /// Of the machine's own disk, in order.
    #[serde(default)]
    pub mounts: Vec<DataMount>,
    /// Its kernel is not the image's, and its modules are on the disk `modules`.
    #[serde(default)]
    pub own_modules: bool,
    /// Kernel modules beside those that every machine has, by name, loaded before the sysctls are set.
    #[serde(default)]
    pub modules: Vec<String>,
    /// Kernel settings by name: `vm.max_map_count`.
    #[serde(default)]
    pub sysctls: BTreeMap<String, String>,
    /// Serials of disks beside those of every machine: they are waited for.
    #[serde(default)]
    pub disks: Vec<String>,
    /// There is a disk `swap`.
    #[serde(default)]
    pub swap: bool,
    /// Its network interfaces.
    #[serde(default)]
    pub interfaces: Vec<Interface>,
}

/// What a machine becomes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A node: its first process is the agent.
    #[default]
    Node,
    /// A sandbox, which holds a whole cluster: its first process is that of every sandbox.
    Sandbox,
}

/// A tree of the node image on the machine's own disk: directories and copies are the disk's, all else is a symbolic link
/// into the image ([`vial_sys::tree::shadow`]). Left alone when the target exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Clone {
    /// A path in the node image: `/usr/lib/vial/containerd`.
    pub source: PathBuf,
    /// A path of the disk.
    pub target: PathBuf,
    /// Ends of paths of files that will be written in place: `meta.db`.
    pub copy: Vec<PathBuf>,
    /// Ends of paths of directories in which nothing will be changed: `fs`.
    pub whole: Vec<PathBuf>,
}

/// A directory of the machine's own disk, shown in its root; made when missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DataMount {
    /// A path of the disk: `containerd`.
    pub source: PathBuf,
    /// An absolute path in the root: `/var/lib/containerd`.
    pub target: PathBuf,
}

/// One network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Interface {
    /// `eth0`.
    pub name: String,
    /// By which it is found.
    pub mac: [u8; 6],
    /// With their prefixes.
    pub addresses: BTreeSet<IpNet>,
    /// Over this interface.
    pub routes: Vec<Route>,
    /// In bytes; the device's own when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
}

/// A destination by way of a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Route {
    /// Where to.
    pub destination: IpNet,
    /// By way of whom.
    pub gateway: IpAddr,
}

impl MachineSpec {
    /// As `/machine.json` has it.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts, numbers and lists are JSON")
    }

    pub(crate) fn read(path: &Path) -> Result<Self, SysError> {
        let operation = || format!("read {}", path.display());
        let bytes = std::fs::read(path).during(operation)?;
        serde_json::from_slice(&bytes)
            .map_err(std::io::Error::from)
            .during(operation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let spec = MachineSpec {
            name: "w-1".into(),
            role: Role::Node,
            machine_id: "0".repeat(32),
            unix_ms: 7,
            env: BTreeMap::from([("HOME".into(), "/root".into())]),
            clones: vec![Clone {
                source: "/usr/lib/vial/containerd".into(),
                target: "containerd".into(),
                copy: vec!["meta.db".into()],
                whole: vec!["fs".into()],
            }],
            mounts: vec![DataMount {
                source: "log".into(),
                target: "/var/log".into(),
            }],
            own_modules: true,
            modules: vec!["wireguard".into()],
            sysctls: BTreeMap::from([("vm.max_map_count".into(), "262144".into())]),
            disks: vec!["scratch".into()],
            swap: true,
            interfaces: vec![Interface {
                name: "eth0".into(),
                mac: [2, 0, 0, 0, 1, 1],
                addresses: BTreeSet::from(["10.89.0.3/24".parse().unwrap()]),
                routes: vec![Route {
                    destination: "0.0.0.0/0".parse().unwrap(),
                    gateway: "10.89.0.1".parse().unwrap(),
                }],
                mtu: None,
            }],
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("machine.json");
        std::fs::write(&path, spec.to_json()).unwrap();
        assert_eq!(MachineSpec::read(&path).unwrap(), spec);
    }

    #[test]
    fn a_word_that_nobody_knows_is_refused_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("machine.json");
        let text = r#"{"name": "w-1", "machineId": "", "unixMs": 0, "sysctl": {}}"#;
        std::fs::write(&path, text).unwrap();
        let error = MachineSpec::read(&path).unwrap_err().line();
        assert!(error.contains("unknown field `sysctl`"), "{error}");
        assert!(error.contains("machine.json"), "{error}");
    }
}
