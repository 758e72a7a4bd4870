//! pasta(1): how it is called, and how a running one is found.
//!
//! # Invariants
//! Nothing is let in: no port is forwarded in either direction, and no address stands for the host's loopback ones.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use vial_sys::identity::{Identity, Process};
use vial_sys::{During, SysError, namespace};

use crate::outside::{program, seal};
use crate::{Families, Outside};

/// Below the run directory: pasta's pid in the sandbox, and what it says.
const PID_FILE: &str = "outside.pid";
const LOG: &str = "outside.log";

/// The interface inside.
const INTERFACE: &str = "outside";

/// Where a pasta is that carries, and what.
pub(super) struct Carrier {
    pub(super) process: Process,
    pub(super) families: Families,
}

/// The carrier that lives in the sandbox of the first process `first`.
pub(super) fn find(run_dir: &Path, first: u32) -> Result<Option<Carrier>, SysError> {
    let path = run_dir.join(PID_FILE);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        result => result.during(|| format!("read {}", path.display()))?,
    };
    // Not yet written, or of a sandbox before.
    let Some(pid) = text
        .trim()
        .parse()
        .ok()
        .and_then(|inner| namespace::pid_beside(first, inner))
    else {
        return Ok(None);
    };
    let Ok(identity) = Identity::of(pid) else {
        return Ok(None);
    };
    // The pid may have been given to another process of the sandbox: ours names its pid file.
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    if !words.contains(&path.as_os_str().as_encoded_bytes()) {
        return Ok(None);
    }
    let families = Families {
        v4: !words.contains(&b"--ipv6-only".as_slice()),
        v6: !words.contains(&b"--ipv4-only".as_slice()),
    };
    Ok(identity
        .open()?
        .map(|process| Carrier { process, families }))
}

/// Starts one; returns when the interface is there. `first` is the first process of the sandbox, by pid and pidfd.
///
/// Blocks, and is for a thread of its own: its children are the sandbox's from then on.
pub(super) fn start(
    run_dir: &Path,
    (pid, first): &(u32, Arc<Process>),
    outside: &Outside,
) -> Result<(), SysError> {
    let path = format!("/proc/{pid}/ns/net");
    let network = File::open(&path).during(|| format!("open {path}"))?;
    // Opened by its pid: it is that of the sandbox if the sandbox lives still.
    if first.has_ended()? {
        return Err(SysError::other("start pasta", "the sandbox has ended"));
    }
    namespace::bear_children_beside(&**first)?;
    let (loader, words) = program(&outside.root, "pasta");
    let ended = Command::new(loader)
        .args(words)
        .args(arguments(run_dir, outside))
        .env_clear()
        .current_dir("/")
        // By number, since it may not look into the sandbox's /proc entries once it has given up its rights.
        .stdin(network)
        .stdout(Stdio::null())
        // Closed when it carries.
        .stderr(Stdio::piped())
        .output()
        .during(|| "start pasta".to_owned())?;
    if ended.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ended.stderr);
    let last = said.trim().lines().last().unwrap_or("it said nothing");
    let status = ended.status;
    Err(SysError::other("start pasta", format!("{status}: {last}")))
}

/// What pasta is given.
fn arguments(run_dir: &Path, outside: &Outside) -> Vec<String> {
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    let mut all = vec!["--pid".into(), text(run_dir.join(PID_FILE))];
    all.extend(["--log-file".into(), text(run_dir.join(LOG))]);
    let rest = [
        // As root it may enter the namespace; it gives up all other rights itself.
        "--runas",
        "0",
        "--netns",
        "/proc/self/fd/0",
        "--no-netns-quit",
        "--config-net",
        "--ns-ifname",
        INTERFACE,
        // Where it takes a link-local address from; which routes connections take is the host's business.
        "--interface",
        &outside.interface,
        // Nothing leads in here either.
        "--tcp-ns",
        "none",
        "--udp-ns",
        "none",
    ];
    all.extend(rest.map(ToOwned::to_owned));
    seal(&mut all, outside.families);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_host_is_let_in_by_the_sandbox_either() {
        let outside = Outside {
            root: "/image".into(),
            families: Families { v4: true, v6: true },
            interface: "eth0".into(),
        };
        let words = arguments(Path::new("/run/vial/a"), &outside).join(" ");
        for shut in [
            "--tcp-ports none",
            "--udp-ports none",
            "--tcp-ns none",
            "--udp-ns none",
            "--no-map-gw",
        ] {
            assert!(words.contains(shut), "{shut} in {words}");
        }
    }
}
