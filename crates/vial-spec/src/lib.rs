//! vial.yaml, its JSON schema, names, CIDRs and sizes: what a person may ask for; no I/O.
//!
//! What a person typed is a [`file::File`]; what it means, checked and with every default filled in, is a
//! [`ClusterSpec`]. Everything below the command line works on the latter.

pub mod cidr;
mod cluster;
pub mod defaults;
mod devices;
pub mod file;
mod machine;
pub mod names;
pub mod port;
mod sandbox;
pub mod size;
pub mod target;
pub mod validate;
mod workers;

pub use cluster::*;
pub use devices::{
    Bus, DiskContent, DiskFormat, ExtraDisk, MGMT, Nic, NicModel, mac_text, usual_mac,
};
pub use file::{File, ParseError};
pub use machine::{DiskCache, Driver, Machine, NumaNode, OwnKernel, PageSize, Restart};
pub use sandbox::{Maker, SandboxConfig, SandboxMachine};
pub use validate::{Overrides, SandboxOverrides, ValidationErrors};
pub use workers::{AddError, Fashion};
