//! The first program of a virtual machine: `/init` of its initramfs, which brings it from the kernel to its root.
//!
//! ```text
//! kernel ─ /init ─► modules ─► disks by their serials ─► mounts ─► switch_root ─ exec ─► /vial/bin/vial, called vial-machine
//!          here
//! ```
//! It is small and static, because it is read, unpacked and run before anything else of a machine, under software
//! emulation too. It knows nothing of clusters: what the machine is to be lies in `/machine.json`, which is carried over
//! unread.
//!
//! # What it finds and leaves
//! | | before | after |
//! |---|---|---|
//! | modules, in the order of `/modules/order` | `/modules/*.ko` | loaded |
//! | disk `root`: erofs, the node image | | below the root; alone at `/vial/image` |
//! | disk `data`: ext4, the machine's own | | the root's upper; at `/vial/data` |
//! | disk `vial`: erofs with the program | | `/vial/bin` |
//! | what the machine is to be | `/machine.json` | `/run/vial/machine.json`, for its owner only |
//! | devtmpfs, proc, sysfs, tmpfs | | `/dev`, `/proc`, `/sys`, `/run` |
//!
//! A machine without a disk `data` keeps what it writes in memory.
//!
//! # On failure
//! One line on the console says what could not be done, and the machine is switched off.

mod disks;
mod error;
mod modules;
mod root;

use std::convert::Infallible;
use std::io::Write as _;
use std::process::ExitCode;

use rustix::system::{RebootCommand, reboot};

use crate::disks::Disks;
use crate::error::Error;

fn main() -> ExitCode {
    // Anybody may call it by mistake: only the kernel's first process may do what follows.
    if std::process::id() != 1 {
        say("this is the first program of a virtual machine, and nothing else");
        return ExitCode::FAILURE;
    }
    let Err(error) = boot();
    say(&error.to_string());
    rustix::fs::sync();
    // Returning would be a kernel panic.
    let _ = reboot(RebootCommand::PowerOff);
    ExitCode::FAILURE
}

fn boot() -> Result<Infallible, Error> {
    root::kernel_file_systems()?;
    modules::load()?;
    let disks = Disks::find()?;
    root::build(&disks)?;
    root::switch()?;
    Err(root::exec())
}

fn say(text: &str) {
    // There is nobody else to tell.
    let _ = writeln!(std::io::stderr(), "vial-boot: {text}");
}
