//! What goes into vial's own root file systems.
//!
//! systemd is never the init here (the agent is), so it is excluded and what may stand in for it is chosen.

/// A named list of wanted packages.
#[derive(Debug, Clone, Copy)]
pub struct PackageList {
    /// For people and progress.
    pub name: &'static str,
    /// Relations as in a Depends field.
    pub wanted: &'static [&'static str],
    /// Never chosen.
    pub excluded: &'static [&'static str],
    /// Taken as installed; dpkg is told so by a package `vial-provides`.
    pub assumed: &'static [&'static str],
}

/// The base of every node: what kubelet, containerd, CRIU and a person at a shell need.
pub const NODE: PackageList = PackageList {
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
pub const VM: PackageList = PackageList {
    name: "vm",
    wanted: &["qemu-system-x86", "qemu-utils", "linux-image-cloud-amd64"],
    excluded: NODE.excluded,
    assumed: &["linux-initramfs-tool"],
};

/// An image to debug from inside a cluster.
pub const TOOLBOX: PackageList = PackageList {
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
pub const NGINX: PackageList = PackageList {
    name: "nginx",
    wanted: &["nginx"],
    excluded: NODE.excluded,
    assumed: &[],
};
