//! Copies of files between the host and nodes: what `vial cp` does.
//!
//! ```text
//!  address   what was typed: NODE:PATH, PATH, -
//!  rules     where it goes, by the rules of `docker cp`; pure
//!  end       one end of a copy, the host or a node: look, read, write
//!  transfer  the bytes between two ends
//! ```

mod address;
mod end;
mod rules;
mod transfer;

pub(crate) use address::Address;
pub(crate) use end::{End, Way};
pub(crate) use rules::{Destination, Source, Target};
pub(crate) use transfer::{Writing, copy, from_stdin, to_stdout};
