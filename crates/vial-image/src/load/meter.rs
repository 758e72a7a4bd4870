//! How far a load is, for whoever shows it while another thread works; and how it is ended.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How often one who waits for somebody else's bytes looks whether the load was ended.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// Bytes done and bytes to do; grows while it is learned what there is to do.
#[derive(Debug, Default)]
pub struct Meter {
    done: AtomicU64,
    total: AtomicU64,
    cancelled: AtomicBool,
}

impl Meter {
    /// Bytes done and expected so far; 0 expected when that is unknown (a pipe).
    pub fn look(&self) -> (u64, u64) {
        (self.done.load(Relaxed), self.total.load(Relaxed))
    }

    /// Ends the load: its next read fails.
    pub fn cancel(&self) {
        self.cancelled.store(true, Relaxed);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Relaxed)
    }

    pub(crate) fn expect(&self, bytes: u64) {
        self.total.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Relaxed);
    }

    /// Reads from a pipe, whose writer may be silent for as long as it likes: the end of the load ends the waiting.
    pub(crate) fn waiting<R: Read + AsFd>(&self, inner: R) -> Waiting<'_, R> {
        Waiting { inner, meter: self }
    }

    /// Counts what is read through it.
    pub(crate) fn reading<R: Read>(&self, inner: R) -> Metered<'_, R> {
        Metered { inner, meter: self }
    }
}

pub(crate) struct Metered<'a, R> {
    inner: R,
    meter: &'a Meter,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.meter.is_cancelled() {
            return Err(interrupted());
        }
        let n = self.inner.read(buffer)?;
        self.meter.add(n as u64);
        Ok(n)
    }
}

pub(crate) struct Waiting<'a, R> {
    inner: R,
    meter: &'a Meter,
}

impl<R: Read + AsFd> Read for Waiting<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.meter.is_cancelled() {
            let mut ready = [PollFd::new(&self.inner, PollFlags::IN)];
            if poll(&mut ready, Some(&PATIENCE))? > 0 {
                return self.inner.read(buffer);
            }
        }
        Err(interrupted())
    }
}

pub(crate) fn interrupted() -> io::Error {
    io::Error::other("it was interrupted")
}
