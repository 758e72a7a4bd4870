//! Modules and settings of the machine's own kernel.

use std::path::{Path, PathBuf};
use std::process::Command;

use vial_sys::{During as _, SysError};

use crate::spec::MachineSpec;

const MODPROBE: &str = "/usr/sbin/modprobe";

/// Loads the modules, then writes the settings: some exist only then.
pub(crate) fn set_up(spec: &MachineSpec) -> Result<(), SysError> {
    load(&spec.modules)?;
    for (name, value) in &spec.sysctls {
        let path = Path::new("/proc/sys").join(file_of(name));
        std::fs::write(&path, value).during(|| format!("set {name} to {value}"))?;
    }
    Ok(())
}

fn load(modules: &[String]) -> Result<(), SysError> {
    if modules.is_empty() {
        return Ok(());
    }
    let operation = || format!("load the kernel modules {}", modules.join(", "));
    let mut modprobe = Command::new(MODPROBE);
    let output = modprobe.arg("--all").arg("--").args(modules).output();
    let output = output.during(operation)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<_> = said.lines().map(str::trim).collect();
    Err(SysError::other(operation(), said.join("; ")))
}

/// `net.ipv4.ip_forward` is `net/ipv4/ip_forward`; in a name with slashes, dots are dots (sysctl(8)):
/// `net/ipv4/conf/eth0.100/forwarding`.
fn file_of(name: &str) -> PathBuf {
    match name.contains('/') {
        true => PathBuf::from(name.trim_start_matches('/')),
        false => name.split('.').collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_files() {
        for (name, file) in [
            ("vm.max_map_count", "vm/max_map_count"),
            (
                "net/ipv4/conf/eth0.100/forwarding",
                "net/ipv4/conf/eth0.100/forwarding",
            ),
            ("/vm/swappiness", "vm/swappiness"),
        ] {
            assert_eq!(file_of(name), Path::new(file), "{name}");
        }
    }
}
