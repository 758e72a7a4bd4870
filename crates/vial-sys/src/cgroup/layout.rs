//! Which cgroup hierarchies a machine has, read from mountinfo; pure.

use std::path::{Path, PathBuf};

use super::ROOT;
use crate::{During, SysError};

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Below [`ROOT`]: `memory`, `cpu,cpuacct`; empty for version 2 mounted at [`ROOT`] itself.
    pub directory: String,
    /// Its version and what it controls.
    pub kind: Kind,
}

/// The version of a hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Version 1: controllers mounted together, or one `name=…`.
    V1(Vec<String>),
    /// Version 2.
    V2,
}

/// All hierarchies of a machine, in the order they were mounted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout {
    /// Each once.
    pub hierarchies: Vec<Hierarchy>,
}

impl Hierarchy {
    /// Where it is mounted.
    pub fn mount_point(&self) -> PathBuf {
        Path::new(ROOT).join(&self.directory)
    }

    /// File system type and options that mount it once more (in another cgroup namespace).
    pub fn mount_options(&self) -> (&'static str, String) {
        match &self.kind {
            Kind::V2 => ("cgroup2", String::new()),
            Kind::V1(names) if names.iter().any(|name| name.starts_with("name=")) => {
                ("cgroup", format!("none,{}", names.join(",")))
            }
            Kind::V1(names) => ("cgroup", names.join(",")),
        }
    }

    /// Whether the version 1 controller is in this hierarchy.
    pub fn controls(&self, controller: &str) -> bool {
        matches!(&self.kind, Kind::V1(names) if names.iter().any(|name| name == controller))
    }
}

impl Layout {
    /// Of this process's mount namespace.
    ///
    /// # Errors
    /// When there is no /proc, or no hierarchy is mounted below [`ROOT`].
    pub fn detect() -> Result<Self, SysError> {
        let layout = Self::parse(
            &std::fs::read_to_string("/proc/self/mountinfo")
                .during(|| "read mountinfo".to_owned())?,
        );
        if layout.hierarchies.is_empty() {
            return Err(SysError::other(
                format!("find cgroups below {ROOT}"),
                "no cgroup file system is mounted there",
            ));
        }
        Ok(layout)
    }

    /// From the text of `/proc/PID/mountinfo` (proc_pid_mountinfo(5)).
    pub fn parse(mountinfo: &str) -> Self {
        let mut hierarchies: Vec<Hierarchy> = Vec::new();
        for line in mountinfo.lines() {
            let Some((before, after)) = line.split_once(" - ") else {
                continue;
            };
            let Some(mount_point) = before.split(' ').nth(4) else {
                continue;
            };
            let mut after = after.split(' ');
            let (Some(kind), _, Some(options)) = (after.next(), after.next(), after.next()) else {
                continue;
            };
            let Ok(directory) = Path::new(mount_point).strip_prefix(ROOT) else {
                continue;
            };
            let kind = match kind {
                "cgroup2" => Kind::V2,
                "cgroup" => Kind::V1(
                    options
                        .split(',')
                        .filter(|option| is_controller(option))
                        .map(str::to_owned)
                        .collect(),
                ),
                _ => continue,
            };
            let Some(directory) = directory.to_str() else {
                continue;
            };
            // The last mount of a hierarchy or at a place wins nothing: one is enough.
            if hierarchies
                .iter()
                .all(|known| known.kind != kind && known.directory != directory)
            {
                hierarchies.push(Hierarchy {
                    directory: directory.to_owned(),
                    kind,
                });
            }
        }
        Self { hierarchies }
    }

    /// Whether version 2 is all there is, so that it has the controllers and its rule "processes only in leaves" holds.
    pub fn is_pure_v2(&self) -> bool {
        self.hierarchies
            .iter()
            .all(|hierarchy| hierarchy.kind == Kind::V2)
    }
}

/// Options of a version 1 super block that are no controllers (kernel: cgroup1_show_options).
fn is_controller(option: &str) -> bool {
    const OTHERS: [&str; 9] = [
        "rw",
        "ro",
        "none",
        "all",
        "noprefix",
        "xattr",
        "clone_children",
        "cpuset_v2_mode",
        "favordynmods",
    ];
    !OTHERS.contains(&option) && !option.starts_with("release_agent=") && !option.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v1(directory: &str, names: &[&str]) -> Hierarchy {
        Hierarchy {
            directory: directory.into(),
            kind: Kind::V1(names.iter().map(|name| (*name).to_owned()).collect()),
        }
    }

    #[test]
    fn hybrid_with_joined_controllers_and_a_named_one() {
        let layout = Layout::parse(
            "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
             32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
             33 31 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/lib/a,name=systemd\n\
             34 31 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n\
             35 31 0:30 / /elsewhere rw - cgroup cgroup rw,name=systemd\n",
        );
        assert_eq!(
            layout.hierarchies,
            [
                v1("cpu,cpuacct", &["cpu", "cpuacct"]),
                v1("systemd", &["name=systemd"]),
                Hierarchy {
                    directory: "unified".into(),
                    kind: Kind::V2
                },
            ]
        );
        assert!(!layout.is_pure_v2());
        assert_eq!(
            layout.hierarchies[0].mount_options(),
            ("cgroup", "cpu,cpuacct".to_owned())
        );
        assert_eq!(
            layout.hierarchies[1].mount_options(),
            ("cgroup", "none,name=systemd".to_owned())
        );
        assert!(layout.hierarchies[0].controls("cpu") && !layout.hierarchies[0].controls("cpuset"));
    }

    #[test]
    fn pure_v2_sits_at_the_root_itself() {
        let layout = Layout::parse(
            "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n",
        );
        assert!(layout.is_pure_v2());
        assert_eq!(
            layout.hierarchies[0].mount_point(),
            Path::new("/sys/fs/cgroup/")
        );
        assert_eq!(
            layout.hierarchies[0].mount_options(),
            ("cgroup2", String::new())
        );
    }

    #[test]
    fn the_machine_the_test_runs_on_has_some() {
        assert!(!Layout::detect().unwrap().hierarchies.is_empty());
    }
}
