//! What a cluster is when nobody says otherwise.

/// The name of a cluster.
pub const NAME: &str = "vial";
/// The version of Kubernetes.
pub const KUBERNETES: &str = "v1.36.3";
/// The repository of the node images that `vial node-image build` makes; the version is the tag.
pub const NODE_IMAGE_REPOSITORY: &str = "vial/node";
/// How many workers a cluster has.
pub const WORKERS: u32 = 2;
/// Pods' addresses, IPv4.
pub const POD_CIDR_V4: &str = "10.244.0.0/16";
/// Pods' addresses, IPv6.
pub const POD_CIDR_V6: &str = "fd00:10:244::/56";
/// Services' addresses, IPv4.
pub const SERVICE_CIDR_V4: &str = "10.96.0.0/16";
/// Services' addresses, IPv6.
pub const SERVICE_CIDR_V6: &str = "fd00:10:96::/112";
