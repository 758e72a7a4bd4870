//! Netlink and sockets inside other network namespaces.
//!
//! [`wish`] says what a network is to look like (pure), [`apply()`] brings it about, [`Inside`] opens sockets in the
//! network namespace of a process, [`relay()`] passes bytes between two connections. Nothing here ever touches the
//! network namespace of the caller's other threads.

mod apply;
mod error;
mod host;
mod link;
mod maker;
mod namespace;
mod relay;
mod socket;
mod sysctl;
pub mod wish;

pub use apply::{NETNS, apply, configure, rename};
pub use error::NetError;
pub use host::{Families, Uplinks};
pub use relay::{PIPES, relay};
pub use socket::Inside;
