//! Tap interfaces: Ethernet frames of an interface, read and written by a program (Linux kernel documentation,
//! networking/tuntap).

use std::fs::File;
use std::os::fd::AsRawFd as _;

use crate::{During, SysError};

/// The device that makes them.
const DEVICE: &str = "/dev/net/tun";

/// Makes the tap interface `name` in the network namespace of the calling thread, or opens the one that is there. It stays
/// when it is closed, and may be opened by the user `owner` (and by root) without a privilege. A read gives one frame, a
/// write sends one, each behind a `virtio_net_hdr` of 10 bytes.
///
/// # Errors
/// When there is no /dev/net/tun, or without the privilege to make interfaces; `EINVAL` for an interface of that name of
/// another kind, `EBUSY` when somebody has it open, so that it is there.
pub fn make(name: &str, owner: u32) -> Result<File, SysError> {
    let operation = || format!("make the tap interface {name}");
    let device = File::options()
        .read(true)
        .write(true)
        .open(DEVICE)
        .during(|| format!("open {DEVICE}"))?;
    // SAFETY: all bytes zero are a value of this plain structure of integers and arrays of them.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero: the kernel reads the name as a C string.
    let place = request.ifr_name.iter_mut().zip(name.bytes());
    for (to, from) in place.take(libc::IFNAMSIZ - 1) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags)
        .map_err(std::io::Error::other)
        .during(operation)?;
    let fd = device.as_raw_fd();
    // SAFETY: TUNSETIFF reads and writes one ifreq, which lives until the call returns.
    let made = unsafe { libc::ioctl(fd, libc::TUNSETIFF, &raw mut request) };
    check(made).during(operation)?;
    // SAFETY: TUNSETOWNER takes a user's number by value.
    let owned = unsafe { libc::ioctl(fd, libc::TUNSETOWNER, libc::c_ulong::from(owner)) };
    check(owned).during(operation)?;
    // SAFETY: TUNSETPERSIST takes a truth value by value.
    let kept = unsafe { libc::ioctl(fd, libc::TUNSETPERSIST, 1) };
    check(kept).during(operation)?;
    Ok(device)
}

fn check(result: libc::c_int) -> std::io::Result<()> {
    match result {
        -1 => Err(std::io::Error::last_os_error()),
        _ => Ok(()),
    }
}
