//! Control groups, version 1, version 2 and both at once (cgroups(7)).
//!
//! [`Layout`] says which hierarchies there are and what to write where; it is pure. [`Group`] is one group, which is
//! one directory in every hierarchy, and does it.

mod freezer;
mod group;
mod layout;

pub use group::{Group, Limits};
pub use layout::{Hierarchy, Kind, Layout};

/// Where all hierarchies are mounted, on every machine and inside.
pub const ROOT: &str = "/sys/fs/cgroup";
