//! Kernel modules: loaded in the order of a list, which has those that others need first.

use std::fs::{self, File};
use std::path::Path;

use rustix::io::Errno;

use crate::error::{During as _, Error};

/// Where the modules are, in the initramfs.
const DIRECTORY: &str = "/modules";
/// The list: one file name a line.
const ORDER: &str = "order";

/// Loads all; one that is there already is fine.
pub(crate) fn load() -> Result<(), Error> {
    let directory = Path::new(DIRECTORY);
    let order = directory.join(ORDER);
    let order = fs::read_to_string(&order).during(|| format!("read {}", order.display()))?;
    order
        .lines()
        .try_for_each(|name| insert(&directory.join(name)))
}

fn insert(path: &Path) -> Result<(), Error> {
    let operation = || format!("load the kernel module {}", path.display());
    let file = File::open(path).during(operation)?;
    match rustix::system::finit_module(&file, c"", 0) {
        Err(Errno::EXIST) => Ok(()),
        loaded => loaded.during(operation),
    }
}
