//! The ssh server alone, in all its roles, for pods and tests; the vial binary has them by the same names.
use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let name = std::env::args_os().next().unwrap_or_default();
    match Path::new(&name).file_name().and_then(OsStr::to_str) {
        Some("vial-sftp") => vial_sshd::sftp_main(),
        Some("sudo") => vial_sshd::sudo_main(),
        _ => vial_sshd::main(),
    }
}
