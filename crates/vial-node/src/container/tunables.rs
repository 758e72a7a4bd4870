//! Kernel settings the kubelet insists on, as files of the container: what it reads there is what it wants, and what it
//! writes there never reaches the machine's kernel.

use std::path::Path;

use vial_sys::mounts::{self, Flags, Tree};
use vial_sys::{During, SysError};

/// Below /proc/sys, with the values of kubelet's setupKernelTunables (pkg/kubelet/cm/container_manager_linux.go) and of
/// k8s.io/component-helpers/node/util/sysctl.
const TUNABLES: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// Puts a file over each setting this kernel has. /tmp is used meanwhile.
pub(super) fn shadow() -> Result<(), SysError> {
    let place = Path::new("/tmp");
    // Only the binds keep this tmpfs alive.
    mounts::tmpfs(place, Flags::NOSUID | Flags::NODEV | Flags::NOEXEC, "755")?;
    for (name, value) in TUNABLES {
        let target = Path::new("/proc/sys").join(name);
        if target.exists() {
            let file = place.join(name.replace('/', "."));
            std::fs::write(&file, format!("{value}\n"))
                .during(|| format!("write {}", file.display()))?;
            Tree::take(&file)?.attach(&target)?;
        }
    }
    mounts::detach(place)
}
