//! What the races share: the machine they run on, the way vial is called, the tables they print.
//!
//! A race measures both sides in one run on one machine and prints their ratio; a figure alone says little, since
//! machines differ and are busy with other things. Nothing here is a test: nothing fails for being slow.

pub mod disk;
pub mod dns;
pub mod forward;
pub mod kubeadm;
pub mod machine;
pub mod oci;
pub mod processes;
pub mod report;
pub mod vial;

/// What goes wrong in a race ends it, with its reason.
pub type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
