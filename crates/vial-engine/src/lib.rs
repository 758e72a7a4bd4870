//! Plan (pure) and execute: what an up, a down or a change does.
//!
//! [`plan`] decides from a [`vial_spec::ClusterSpec`] and facts; it reads nothing and writes nothing. [`execute`] makes
//! it so and chooses nothing. Every step of it may be run again: an `up` that was cut off is finished by the next one.
//!
//! # What is on disk
//! `$VIAL_HOME/clusters/NAME/`: `cluster.json` ([`record`]), `pki/` ([`pki`]), `nodes/` (writable disks of the nodes),
//! `images/` (container images that were loaded, [`images`]).

pub mod check;
mod error;
pub mod execute;
pub mod freeze;
pub mod images;
pub mod kube_api;
pub mod paths;
pub mod pki;
pub mod plan;
pub mod progress;
pub mod record;

pub use error::{Error, Result};
