//! The machine: root, memory, disk, limits, devices.

use std::path::Path;

use super::{Finding, read};
use crate::commands::node_image::size;

const GB: u64 = 1_000_000_000;

/// Making namespaces of the kinds that vial needs is for root.
pub(super) fn root(root: bool) -> Finding {
    if !root {
        return Finding::info(
            "root",
            "not root: a cluster is one virtual machine; one of namespaces, at full speed, is for root (sudo vial …)",
        );
    }
    // capabilities(7): CAP_SYS_ADMIN is 21, CAP_NET_ADMIN 12.
    let effective = read("/proc/self/status")
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(u64::MAX);
    if effective & 1 << 21 == 0 || effective & 1 << 12 == 0 {
        return Finding::fail(
            "root",
            "root without CAP_SYS_ADMIN or CAP_NET_ADMIN",
            "in a container, run it with --privileged",
        );
    }
    Finding::ok("root", "with the capabilities that are needed")
}

/// A cluster of three nodes takes about 1.5 GB before its first pod.
pub(super) fn memory() -> Finding {
    let meminfo = read("/proc/meminfo");
    let kilobytes = |name: &str| {
        meminfo
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
    };
    let (Some(available), Some(total)) = (kilobytes("MemAvailable"), kilobytes("MemTotal")) else {
        return Finding::info("memory", "unknown");
    };
    judge_memory(available * 1024, total * 1024)
}

fn judge_memory(available: u64, total: u64) -> Finding {
    let found = format!("{} of {} free", size(available), size(total));
    if available < GB {
        return Finding::fail(
            "memory",
            found,
            "a cluster takes about 1.5 GB; end something, or use a bigger machine",
        );
    }
    if available < 2 * GB {
        return Finding::warn(
            "memory",
            found,
            "enough for `vial up --workers 1`, not for much more",
        );
    }
    Finding::ok("memory", found)
}

/// Building the first node image takes about 6 GB, the image itself 2.
pub(super) fn space(home: &Path) -> Finding {
    let existing = home
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("/"));
    match rustix::fs::statvfs(existing) {
        Ok(stat) => judge_space(home, stat.f_bavail.saturating_mul(stat.f_frsize)),
        Err(error) => Finding::warn(
            "disk space",
            format!("{}: {error}", existing.display()),
            "set VIAL_HOME to a directory that can be read",
        ),
    }
}

fn judge_space(home: &Path, free: u64) -> Finding {
    let found = format!("{} free for {}", size(free), home.display());
    match free / GB {
        0..2 => Finding::fail(
            "disk space",
            found,
            "free 6 GB there, or set VIAL_HOME to another disk",
        ),
        2..6 => Finding::warn(
            "disk space",
            found,
            "enough for a cluster; building the first node image needs 6 GB",
        ),
        _ => Finding::ok("disk space", found),
    }
}

/// Every kubelet and containerd takes some; the defaults of many machines are spent by one cluster.
pub(super) fn inotify() -> Vec<Finding> {
    [
        ("inotify instances", "max_user_instances", 128, 512),
        ("inotify watches", "max_user_watches", 8_192, 65_536),
    ]
    .into_iter()
    .map(|(requirement, name, least, good)| {
        let mend = format!("sysctl -w fs.inotify.{name}={good}");
        match read(&format!("/proc/sys/fs/inotify/{name}"))
            .trim()
            .parse::<u64>()
        {
            Ok(value) if value < least => Finding::fail(requirement, value.to_string(), mend),
            Ok(value) if value < good => Finding::warn(
                requirement,
                value.to_string(),
                format!("{mend}: for many clusters at once"),
            ),
            Ok(value) => Finding::ok(requirement, value.to_string()),
            Err(_) => Finding::info(requirement, "unknown"),
        }
    })
    .collect()
}

/// kubelet reads /dev/kmsg; /dev/net/tun is the way outside (pasta(1)).
pub(super) fn devices() -> Vec<Finding> {
    let kmsg = if Path::new("/dev/kmsg").exists() {
        Finding::ok("/dev/kmsg", "there")
    } else {
        Finding::warn(
            "/dev/kmsg",
            "missing: out-of-memory kills are not reported as events",
            "mknod /dev/kmsg c 1 11",
        )
    };
    let tun = if Path::new("/dev/net/tun").exists() {
        Finding::ok("/dev/net/tun", "there")
    } else {
        Finding::warn(
            "/dev/net/tun",
            "missing: nodes and pods do not reach what the host reaches",
            "modprobe tun, or mkdir -p /dev/net && mknod /dev/net/tun c 10 200",
        )
    };
    vec![kmsg, tun]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn who_is_not_root_is_told() {
        let finding = root(false);
        assert_eq!(finding.state, State::Info);
        assert!(finding.found.contains("sudo"));
    }

    #[test]
    fn memory_is_judged_by_what_is_available() {
        let states = [GB / 2, 3 * GB / 2, 4 * GB].map(|free| judge_memory(free, 8 * GB).state);
        assert_eq!(states, [State::Fail, State::Warn, State::Ok]);
    }

    #[test]
    fn space_is_judged_for_the_first_build() {
        let states = [GB, 3 * GB, 20 * GB].map(|free| judge_space(Path::new("/x"), free).state);
        assert_eq!(states, [State::Fail, State::Warn, State::Ok]);
        // A directory that is not there yet is looked at where it would be.
        assert!(
            space(Path::new("/nonexistent/deep/down"))
                .found
                .contains("/nonexistent/deep/down")
        );
    }
}
