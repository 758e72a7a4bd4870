//! The machine: what vial needs of it, and how it does. Nothing of its network, nothing of other programs.

use std::fmt::Write as _;
use std::path::Path;

use vial_engine::paths::Paths;
use vial_image::Store;

use super::Tray;
use crate::context::Context;
use crate::doctor;
use crate::error::Error;

/// Kernel parameters that matter to clusters, below /proc/sys.
const SYSCTLS: &[&str] = &[
    "fs/file-max",
    "fs/file-nr",
    "fs/inotify/max_queued_events",
    "fs/inotify/max_user_instances",
    "fs/inotify/max_user_watches",
    "kernel/keys/root_maxkeys",
    "kernel/pid_max",
    "kernel/threads-max",
    "kernel/unprivileged_userns_clone",
    "net/core/somaxconn",
    "net/netfilter/nf_conntrack_max",
    "user/max_mnt_namespaces",
    "user/max_net_namespaces",
    "user/max_pid_namespaces",
    "user/max_user_namespaces",
    "vm/max_map_count",
    "vm/overcommit_memory",
];

/// Files that tell how the machine is.
const FILES: &[&str] = &[
    "/proc/version",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/pressure/cpu",
    "/proc/pressure/memory",
    "/proc/pressure/io",
    "/proc/cgroups",
    "/proc/self/cgroup",
    "/sys/fs/cgroup/cgroup.controllers",
    "/proc/self/limits",
    "/proc/modules",
];

/// Gathers `host/`.
pub(in crate::diagnose) async fn gather(context: &Context, tray: &Tray) {
    let (paths, root, tray) = (context.paths.clone(), context.root, tray.clone());
    let runtime = tokio::runtime::Handle::current();
    let looked = tokio::task::spawn_blocking(move || {
        let findings: Result<_, Error> = Ok(runtime.block_on(doctor::examine(&paths, root)));
        tray.json(
            "host/doctor.json",
            "what vial needs of the machine, as `vial doctor` says",
            findings,
        );
        tray.text(
            "host/machine.txt",
            "kernel, memory, load, cgroups, limits",
            Ok::<_, Error>(machine()),
        );
        let space = space(&[&paths.home, &paths.run, &std::env::temp_dir()]);
        tray.text(
            "host/space.txt",
            "space where vial keeps things",
            Ok::<_, Error>(space),
        );
        tray.text(
            "host/node-images.txt",
            "the node images",
            node_images(&paths),
        );
        let clusters = vial_engine::record::names(&paths).map(|names| names.join("\n") + "\n");
        tray.text("host/clusters.txt", "names of all clusters", clusters);
        tray.text(
            "host/version.txt",
            "vial's version and where it looks",
            Ok::<_, Error>(version()),
        );
    });
    // A panic is told by the runtime.
    let _ = looked.await;
}

/// A store that is not there is not made.
fn node_images(paths: &Paths) -> Result<String, vial_image::Error> {
    if !paths.images_dir().is_dir() {
        return Ok("(none)\n".to_owned());
    }
    let images = Store::open(&paths.home)?.list()?;
    Ok(images.iter().map(|image| format!("{image:#?}\n")).collect())
}

fn version() -> String {
    let mut text = format!(
        "vial {}\nkubernetes of new clusters {}\narchitecture {}\n",
        env!("CARGO_PKG_VERSION"),
        vial_spec::defaults::KUBERNETES,
        std::env::consts::ARCH
    );
    for name in [
        "VIAL_HOME",
        "VIAL_RUN",
        "VIAL_CLUSTER",
        "VIAL_LOG",
        "SUDO_UID",
    ] {
        let value = std::env::var(name).unwrap_or_else(|_| "(not set)".to_owned());
        let _ = writeln!(text, "{name} {value}");
    }
    text
}

fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path);
    let mut text = String::new();
    let release = read("/etc/os-release").unwrap_or_default();
    for line in release
        .lines()
        .filter(|line| line.starts_with("PRETTY_NAME"))
    {
        let _ = writeln!(text, "{line}");
    }
    let processors = read("/proc/cpuinfo").unwrap_or_default();
    let models = processors
        .lines()
        .filter(|line| line.starts_with("model name"));
    let _ = writeln!(text, "processors: {}", models.clone().count());
    let _ = writeln!(text, "{}", models.clone().next().unwrap_or_default());
    for path in FILES {
        let _ = match read(path) {
            Ok(content) => writeln!(text, "\n== {path}\n{}", content.trim_end()),
            Err(error) => writeln!(text, "\n== {path}: {error}"),
        };
    }
    // A process's rights: capabilities(7), seccomp(2).
    let status = read("/proc/self/status").unwrap_or_default();
    let rights = status.lines().filter(|line| {
        ["Cap", "NoNewPrivs", "Seccomp", "Uid"]
            .iter()
            .any(|name| line.starts_with(name))
    });
    let _ = writeln!(
        text,
        "\n== rights of vial\n{}",
        rights.collect::<Vec<_>>().join("\n")
    );
    let mounts = read("/proc/self/mountinfo").unwrap_or_default();
    let cgroups = mounts.lines().filter(|line| line.contains(" - cgroup"));
    let _ = writeln!(
        text,
        "\n== mounts of cgroups\n{}",
        cgroups.collect::<Vec<_>>().join("\n")
    );
    text += "\n== kernel parameters\n";
    for name in SYSCTLS {
        let value = read(&format!("/proc/sys/{name}"));
        let value = value.unwrap_or_else(|_| "(not there)".to_owned());
        let _ = writeln!(text, "{} = {}", name.replace('/', "."), value.trim());
    }
    text
}

fn space(paths: &[&Path]) -> String {
    let mut text = String::new();
    for path in paths {
        let _ = match rustix::fs::statvfs(*path) {
            Ok(stat) => writeln!(
                text,
                "{}: {} bytes of {} free, {} inodes of {} free",
                path.display(),
                stat.f_bavail.saturating_mul(stat.f_frsize),
                stat.f_blocks.saturating_mul(stat.f_frsize),
                stat.f_favail,
                stat.f_files,
            ),
            Err(error) => writeln!(text, "{}: {error}", path.display()),
        };
    }
    text
}
