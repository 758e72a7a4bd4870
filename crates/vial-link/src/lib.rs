//! The line between a host and a guest: one byte stream that carries many connections.
//!
//! A machine has one virtio-serial port. QEMU serves its host end as a unix socket; its guest end is a character device.
//! Over it, the host opens any number of [`Stream`]s, each to one [`Target`] in the guest.
//!
//! ```text
//!  host                                                            guest
//!  ────                                                            ─────
//!  agent.sock ─┐                                                       ┌─► the agent (gRPC)
//!  dial.sock  ─┼─ vial-link (role) ─ Host ═══ unix socket, QEMU,       ├─► unix sockets
//!   ▲          │                              virtio-serial ═══ serve ─┴─► TCP addresses
//!   └ dial()  ─┘
//!
//!  Stream    HTTP/2 (h2): flow control and two ends for each stream           session.rs, stream.rs
//!  Session   a byte stream in chunks that name the session                    line.rs, wire.rs
//!  Line      any byte stream, which may lose and keep bytes between sessions  port.rs: virtio
//! ```
//!
//! # Invariants
//! - Whatever is left on the line by somebody who was killed, or frozen, harms nobody: see `wire.rs`.
//! - Noise ends a session, never a process.
//! - A reader that stops holds up its own stream only.
//! - The guest opens nothing by itself: what comes to a listener inside is told on the stream that asked for it, and
//!   fetched (`listen.rs`).

mod datagram;
mod dial;
mod guest;
mod host;
mod line;
mod listen;
mod networks;
mod port;
mod readable;
mod relay;
mod role;
mod session;
mod stream;
mod target;
mod wake;
mod wire;

pub use datagram::{Datagrams, bind_udp};
pub use dial::dial;
pub use guest::{Ports, serve};
pub use host::{Host, OpenError, Opener};
pub use listen::{Listener, listen};
pub use networks::{Networks, OwnNetwork};
pub use port::{PORT_NAME, Port, PortError, VirtioPort};
pub use role::main;
pub use stream::Stream;
pub use target::{Answer, LONGEST, Place, Target, TargetError};
pub use wake::{Wake, wake};
