//! What the roots of a sandbox and of a container have in common.

pub(crate) mod cgroups;
pub(crate) mod devices;
