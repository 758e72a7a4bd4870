//! Clusters that are frozen to disk, and thawed as the same cluster or as others.

pub mod namespace;
