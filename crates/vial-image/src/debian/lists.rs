//! What goes into vial's own root file systems.
//!
//! systemd is never the init here (the agent is), so it is excluded and what may stand in for it is chosen.

/// A named list of wanted packages.
#[derive(Debug, Clone, Copy)]
pub struct PackageList<'a> {
    /// For people and progress.
    pub name: &'a str,
    /// Relations as in a Depends field.
    pub wanted: &'a [&'a str],
    /// Never chosen.
    pub excluded: &'a [&'a str],
    /// Taken as installed; dpkg is told so by a package `vial-provides`.
    pub assumed: &'a [&'a str],
}

/// The base of every node: what kubelet, containerd, CRIU and a person at a shell need.
pub const NODE: PackageList<'static> = PackageList {
    name: "node",
    wanted: &[
        // a system to log in to
        "bash",
        "coreutils",
        "util-linux",
        "util-linux-extra",
        "mount",
        "procps",
        "less",
        "vim-tiny",
        "sudo",
        "jq",
        "tar",
        "xz-utils",
        "zstd",
        "rsync",
        "openssh-server",
        "openssh-sftp-server",
        "openssh-client",
        // what Ansible's modules run on
        "python3",
        "ca-certificates",
        "curl",
        // networks: kube-proxy, CNI plugins, and finding out why they do not work
        "iproute2",
        "iptables",
        "nftables",
        "ipset",
        "conntrack",
        "ethtool",
        "socat",
        "tcpdump",
        "iputils-ping",
        "bind9-dnsutils",
        "netcat-openbsd",
        "passt",
        // containers and volumes
        "runc",
        "crun",
        "kmod",
        "e2fsprogs",
        "erofs-utils",
        "mtools",
        // Linux 6.16 and newer needs it (SO_PASSCRED); trixie's is older
        "criu (>= 4.2.1)",
    ],
    excluded: &[
        "systemd",
        "systemd-sysv",
        "sysvinit-core",
        "runit-init",
        "udev",
    ],
    assumed: &[],
};

/// On top of [`NODE`]: virtual machines and the kernel they boot.
///
/// Nodes boot the kernel directly with an initramfs of vial's own, so that of Debian is not made.
pub const VM: PackageList<'static> = PackageList {
    name: "vm",
    wanted: &["qemu-system-x86", "qemu-utils", "linux-image-cloud-amd64"],
    excluded: NODE.excluded,
    assumed: &["linux-initramfs-tool"],
};

/// An image to debug from inside a cluster.
pub const TOOLBOX: PackageList<'static> = PackageList {
    name: "toolbox",
    wanted: &[
        "bash",
        "coreutils",
        "procps",
        "less",
        "sudo",
        "ca-certificates",
        "curl",
        "iproute2",
        "iputils-ping",
        "bind9-dnsutils",
        "netcat-openbsd",
        "tcpdump",
        "iperf",
        "iperf3",
        "bash-static",
        "busybox-static",
    ],
    excluded: NODE.excluded,
    assumed: &[],
};

/// On top of [`TOOLBOX`]: the web server that Kubernetes' tests run.
pub const NGINX: PackageList<'static> = PackageList {
    name: "nginx",
    wanted: &["nginx"],
    excluded: NODE.excluded,
    assumed: &[],
};

/// A small Debian to build on: a shell, accounts, packages of one's own choice by apt.
pub const SLIM: PackageList<'static> = PackageList {
    name: "slim",
    wanted: &[
        "apt",
        "debian-archive-keyring",
        "bash",
        "ca-certificates",
        "passwd",
        "login",
        "adduser",
        "mount",
        "netbase",
        "tzdata",
    ],
    excluded: NODE.excluded,
    assumed: &[],
};
