//! Namespaces, mounts, cgroups, processes: the only crate with unsafe code.
//!
//! Each module wraps one kernel interface and knows nothing of clusters. What is decided (cgroup layouts) is pure and
//! apart from what is done.
#![expect(
    unsafe_code,
    reason = "the one place where the kernel's interfaces are wrapped; each block says why it is sound"
)]

pub mod cgroup;
pub mod chroot;
mod error;
pub mod identity;
pub mod limits;
pub mod lock;
pub mod mounts;
pub mod namespace;
pub mod pids;
pub mod process;
pub mod program;
pub mod pty;
pub mod session;
pub mod socket;
pub mod tap;
pub mod ticks;
pub mod tree;
pub mod wake;

pub use error::{During, SysError, error_chain};
