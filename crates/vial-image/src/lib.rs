//! Node images: component sources, Debian root file system, layers, OCI store
