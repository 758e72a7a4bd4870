//! Namespaces, mounts, cgroups, terminals: the only crate with unsafe code
