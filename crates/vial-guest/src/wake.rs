//! A guest that went on after a time.

use std::io;

use vial_link::Wake;
use vial_sys::wake::{reseed, set_clock};

/// Sets the clock, and makes the kernel's random numbers its own.
pub(crate) fn wake(wake: &Wake) -> io::Result<()> {
    let both = set_clock(wake.now).and_then(|()| reseed(&wake.entropy));
    both.map_err(|error| io::Error::new(error.source.kind(), error.line()))
}
