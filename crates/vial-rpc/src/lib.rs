//! gRPC between the keeper, the first process of a sandbox and the agents of nodes.
//!
//! The messages and services are generated from `proto/`, which is where they are described. Clients reach a server
//! over any byte stream; today a unix socket (see [`connect`]).
#![expect(
    missing_docs,
    clippy::allow_attributes_without_reason,
    reason = "generated code; documented in proto/"
)]

mod channel;
pub mod containerd;
pub mod exec;
pub mod pipe;

pub use bytes::Bytes;
pub use channel::{ConnectError, connect, connect_by};
pub use exec::{exec_collect, exec_interactive};
pub use tonic::Code;
pub use tonic::transport::Channel;
pub use tonic::{Status, Streaming};

mod v1 {
    tonic::include_proto!("vial.v1");
}
pub use v1::*;
