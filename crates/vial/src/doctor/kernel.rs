//! The kernel: namespaces, overlayfs, control groups, networking.

use std::path::Path;
use std::time::Duration;

use rustix::net::{AddressFamily, SendFlags, SocketType, netlink};

use super::{Finding, read};

/// The release. 5.12 is where mount_setattr(2), close_range(2) and the rest that vial uses are.
pub(super) fn version() -> Finding {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    match parse_release(&release) {
        Some(version) if version < (5, 12) => {
            Finding::fail("kernel", release, "run Linux 5.12 or newer")
        }
        _ => Finding::ok(
            "kernel",
            format!("{release} {}", uname.machine().to_string_lossy()),
        ),
    }
}

fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// namespaces(7): a kind that the kernel lacks has no file in /proc/self/ns.
pub(super) fn namespaces() -> Finding {
    let missing: Vec<&str> = ["pid", "mnt", "net", "uts", "ipc", "cgroup"]
        .into_iter()
        .filter(|kind| !Path::new("/proc/self/ns").join(kind).exists())
        .collect();
    if missing.is_empty() {
        return Finding::ok("namespaces", "pid, mnt, net, uts, ipc, cgroup");
    }
    Finding::fail(
        "namespaces",
        format!("without {}", missing.join(", ")),
        "use a kernel with CONFIG_NAMESPACES and all its kinds",
    )
}

/// Nodes' root file systems are overlays of the node image.
pub(super) fn overlayfs() -> Finding {
    let known = |filesystems: &str| {
        filesystems
            .lines()
            .any(|line| line.split_whitespace().last() == Some("overlay"))
    };
    if known(&read("/proc/filesystems")) {
        return Finding::ok("overlayfs", "in the kernel");
    }
    if module_exists("overlay") {
        return Finding::warn(
            "overlayfs",
            "a module that is not loaded",
            "modprobe overlay",
        );
    }
    Finding::fail(
        "overlayfs",
        "not in the kernel",
        "use a kernel with CONFIG_OVERLAY_FS",
    )
}

/// Which version, and the controllers that kubelet insists on.
pub(super) fn cgroups() -> Vec<Finding> {
    const NEEDED: [&str; 5] = ["cpu", "cpuset", "memory", "pids", "cpuacct"];
    let unified = read("/sys/fs/cgroup/cgroup.controllers");
    if !unified.is_empty() {
        let missing: Vec<&str> = NEEDED[..4]
            .iter()
            .copied()
            .filter(|name| !unified.split_whitespace().any(|c| c == *name))
            .collect();
        return vec![controllers("v2", &missing)];
    }
    let hierarchies: Vec<String> = std::fs::read_dir("/sys/fs/cgroup")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .flat_map(|name| name.split(',').map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let missing: Vec<&str> = NEEDED
        .into_iter()
        .filter(|name| !hierarchies.iter().any(|h| h == name))
        .collect();
    if hierarchies.is_empty() {
        return vec![Finding::fail(
            "cgroups",
            "nothing at /sys/fs/cgroup",
            "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
        )];
    }
    vec![controllers("v1", &missing)]
}

fn controllers(version: &str, missing: &[&str]) -> Finding {
    match (version, missing) {
        (_, [_, ..]) => Finding::fail(
            "cgroups",
            format!("{version} without {}", missing.join(", ")),
            "enable these controllers (kernel command line: cgroup_enable=memory and the like)",
        ),
        ("v1", []) => Finding::info(
            "cgroups",
            "v1 with all controllers; it works, Kubernetes prefers v2",
        ),
        (_, []) => Finding::ok("cgroups", format!("{version} with all controllers")),
    }
}

/// Tried in a network namespace that goes with the thread: bridge, veth, nf_tables, br_netfilter.
pub(super) fn network() -> Vec<Finding> {
    // A thread of its own, because a thread cannot be trusted with the old namespace again.
    let tried = std::thread::spawn(|| {
        vial_sys::namespace::unshare(vial_sys::namespace::UnshareFlags::NEWNET)
            .map(|()| try_network())
    });
    match tried.join() {
        Ok(Ok(findings)) => findings,
        Ok(Err(error)) => vec![Finding::fail(
            "network namespace",
            crate::error::chain(&error),
            "run vial where CAP_SYS_ADMIN is allowed: as root, in a container only with --privileged",
        )],
        Err(_) => vec![Finding::warn(
            "network",
            "the trial ended early",
            "run it again; report it if it stays",
        )],
    }
}

fn try_network() -> Vec<Finding> {
    let mut findings = Vec::new();
    for (requirement, kind, option) in [
        ("bridge", "bridge", "CONFIG_BRIDGE"),
        ("veth", "veth", "CONFIG_VETH"),
    ] {
        findings.push(match new_link(kind) {
            Ok(()) => Finding::ok(requirement, "made one in a throw-away namespace"),
            Err(errno) => Finding::fail(
                requirement,
                errno.to_string(),
                format!("modprobe {kind}, or a kernel with {option}"),
            ),
        });
    }
    findings.push(match nf_tables_generation() {
        Ok(()) => Finding::ok("nf_tables", "answers"),
        Err(errno) => Finding::fail(
            "nf_tables",
            errno.to_string(),
            "modprobe nf_tables, or a kernel with CONFIG_NF_TABLES",
        ),
    });
    findings.push(if Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables").exists() || module_exists("br_netfilter") {
        Finding::ok("br_netfilter", "there")
    } else {
        Finding::warn(
            "br_netfilter",
            "not in the kernel",
            "modprobe br_netfilter; without it a pod cannot reach itself or a neighbour on its node through a service",
        )
    });
    findings
}

/// Asks rtnetlink(7) for a new link of that kind.
fn new_link(kind: &str) -> rustix::io::Result<()> {
    const RTM_NEWLINK: u16 = 16;
    const IFLA_IFNAME: u16 = 3;
    const IFLA_LINKINFO: u16 = 18;
    const IFLA_INFO_KIND: u16 = 1;
    const NLM_F_CREATE_EXCL: u16 = 0x400 | 0x200;
    let mut body = vec![0; 16]; // struct ifinfomsg, all zero: any index, no flags
    attribute(&mut body, IFLA_IFNAME, format!("t-{kind}\0").as_bytes());
    let mut info = Vec::new();
    attribute(&mut info, IFLA_INFO_KIND, kind.as_bytes());
    attribute(&mut body, IFLA_LINKINFO, &info);
    acknowledged(None, RTM_NEWLINK, NLM_F_CREATE_EXCL, &body)
}

/// Asks nfnetlink for the generation of the rules: only nf_tables answers that.
fn nf_tables_generation() -> rustix::io::Result<()> {
    const NFNL_SUBSYS_NFTABLES: u16 = 10;
    const NFT_MSG_GETGEN: u16 = 16;
    // struct nfgenmsg: family, version, resource id.
    acknowledged(
        Some(netlink::NETFILTER),
        NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN,
        0,
        &[0, 0, 0, 0],
    )
}

/// One netlink(7) request with an acknowledgement; its error is ours. No protocol is NETLINK_ROUTE, which is 0.
fn acknowledged(
    protocol: Option<rustix::net::Protocol>,
    kind: u16,
    flags: u16,
    body: &[u8],
) -> rustix::io::Result<()> {
    const NLM_F_REQUEST_ACK: u16 = 1 | 4;
    const NLMSG_ERROR: u16 = 2;
    let socket = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, protocol)?;
    let timeout = Some(Duration::from_secs(5));
    rustix::net::sockopt::set_socket_timeout(
        &socket,
        rustix::net::sockopt::Timeout::Recv,
        timeout,
    )?;
    let length = u32::try_from(16 + body.len()).map_err(|_| rustix::io::Errno::INVAL)?;
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend((flags | NLM_F_REQUEST_ACK).to_ne_bytes());
    message.extend(1u32.to_ne_bytes()); // sequence
    message.extend(0u32.to_ne_bytes()); // port: the kernel chooses
    message.extend(body);
    rustix::net::send(&socket, &message, SendFlags::empty())?;
    loop {
        let mut answer = [0; 4096];
        let (length, _) = rustix::net::recv(
            &socket,
            answer.as_mut_slice(),
            rustix::net::RecvFlags::empty(),
        )?;
        let mut rest = &answer[..length];
        while let (Some(size), Some(found)) = (number(rest, 0), rest.get(4..6)) {
            if found == NLMSG_ERROR.to_ne_bytes() {
                return match number(rest, 16).map(i32::from_ne_bytes).unwrap_or_default() {
                    0 => Ok(()),
                    errno => Err(rustix::io::Errno::from_raw_os_error(-errno)),
                };
            }
            let size = usize::try_from(u32::from_ne_bytes(size))
                .unwrap_or(usize::MAX)
                .max(16)
                .next_multiple_of(4);
            rest = rest.get(size..).unwrap_or_default();
        }
    }
}

fn number(bytes: &[u8], at: usize) -> Option<[u8; 4]> {
    bytes.get(at..at + 4)?.try_into().ok()
}

/// One attribute of netlink(7): length, type, value, padded to four bytes.
fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    body.extend(length.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// Is it built in, loaded, or in a file that could be loaded?
fn module_exists(name: &str) -> bool {
    if Path::new("/sys/module").join(name).exists() {
        return true;
    }
    let directory =
        Path::new("/lib/modules").join(&*rustix::system::uname().release().to_string_lossy());
    let file = |path: &str| std::fs::read_to_string(directory.join(path)).unwrap_or_default();
    let names = [
        format!("/{name}.ko"),
        format!("/{}.ko", name.replace('_', "-")),
    ];
    [file("modules.builtin"), file("modules.dep")]
        .iter()
        .any(|list| {
            list.lines().any(|line| {
                names.iter().any(|name| {
                    line.split(':')
                        .next()
                        .unwrap_or_default()
                        .contains(name.as_str())
                })
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn releases_are_read() {
        assert_eq!(parse_release("6.18.0-rc1+deb13-amd64"), Some((6, 18)));
        assert_eq!(parse_release("5.4.0"), Some((5, 4)));
        assert_eq!(parse_release("strange"), None);
    }

    #[test]
    fn attributes_are_padded() {
        let mut body = Vec::new();
        attribute(&mut body, 1, b"veth");
        attribute(&mut body, 3, b"ab\0");
        assert_eq!(body.len(), 8 + 8);
        assert_eq!(body[8..10], 7u16.to_ne_bytes());
    }

    #[test]
    fn a_missing_controller_is_a_failure() {
        assert_eq!(controllers("v2", &[]).state, State::Ok);
        assert_eq!(controllers("v1", &[]).state, State::Info);
        assert_eq!(controllers("v2", &["memory"]).state, State::Fail);
    }
}
