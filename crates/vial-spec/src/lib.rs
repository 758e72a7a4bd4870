//! vial.yaml, its JSON schema, names, CIDRs and sizes: what a person may ask for; no I/O.
//!
//! What a person typed is a [`file::File`]; what it means, checked and with every default filled in, is a
//! [`ClusterSpec`]. Everything below the command line works on the latter.

mod cluster;

pub use cluster::*;
