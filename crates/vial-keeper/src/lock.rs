//! Who owns a cluster: the holder of `$VIAL_HOME/clusters/NAME.lock`.

use std::io;

use vial_engine::paths::{Paths, private_dir};
use vial_sys::lock::Lock;

/// Takes the cluster's lock unless somebody has it.
pub(crate) fn try_own(paths: &Paths, name: &str) -> io::Result<Option<Lock>> {
    private_dir(&paths.clusters_dir())?;
    Lock::try_take(&paths.lock_file(name)).map_err(|error| error.source)
}
