//! QEMU, seen from the host: one process a virtual machine.
//!
//! ```text
//!  arguments  what a machine is started with
//!  qmp        commands and events of a running machine     qmp.sock
//!  console    its serial console, with what it said before console.sock, console.log
//!  probe      whether the host's KVM really runs a guest, once a boot of the host
//!  frozen     its state in files, from which it goes on   memory, devices
//!  layers     its disks' files: what was frozen stays     data, data.1, …
//!  start      planned words become QEMU's: it starts, or goes on
//!  program    the QEMU of a node image, for the host itself: nothing is installed for it
//! ```
//!
//! Deliberately absent: the life of machines. An agent starts QEMU and ends it, as any other component.

pub mod arguments;
pub mod console;
pub mod frozen;
pub mod layers;
pub mod probe;
pub mod program;
pub mod qmp;
pub mod start;
#[cfg(test)]
mod testing;

pub use arguments::Arguments;
pub use frozen::Frozen;
pub use layers::Layers;
pub use probe::{Accelerator, Verdict};
pub use program::Program;
pub use qmp::{Qmp, QmpError};
