//! Which programs a node has, from which Go module, and where they go.
//!
//! Each directory of `components/` is one Go module that pins one upstream; its files are part of the vial binary, so
//! that an installed vial needs no checkout.

use crate::digest::Hasher;
use crate::error::{Error, Result};

/// A module of `components/`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Module {
    /// Its directory below `components/`.
    pub(crate) name: &'static str,
    /// Name and content of its files.
    pub(crate) files: &'static [(&'static str, &'static str)],
    /// The upstream Go module whose version is the component's; empty for vial's own.
    pub(crate) upstream: &'static str,
    /// What is built from it for every node image.
    pub(crate) programs: &'static [Program],
    /// What is built from it only when somebody asks, and is in no node image.
    pub(crate) extras: &'static [Program],
    /// Files of the upstream module's source that container images need, by their path in it; they are kept beside the
    /// programs, below [`ASSETS`].
    pub(crate) assets: &'static [&'static str],
    /// Variables set at link time; `%V` is the version, `%v` the version without `v`, `%J` and `%N` its first two numbers.
    pub(crate) variables: &'static [(&'static str, &'static str)],
}

/// One program.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Program {
    /// Go package; `.` for the module's own.
    pub(crate) package: &'static str,
    /// Its name in the node.
    pub(crate) name: &'static str,
    /// Its directory in the node; empty when it only goes into a container image or is a tool of the build.
    pub(crate) directory: &'static str,
}

/// Directory of a module's assets, beside its programs.
pub(crate) const ASSETS: &str = "assets";

const BIN: &str = "usr/local/bin";
const CNI: &str = "opt/cni/bin";

const fn program(package: &'static str, name: &'static str, directory: &'static str) -> Program {
    Program {
        package,
        name,
        directory,
    }
}

macro_rules! files {
    ($module:literal: $($file:literal),+) => {
        &[$(($file, include_str!(concat!("../../../../components/", $module, "/", $file)))),+]
    };
}

const KUBERNETES_PROGRAMS: &[Program] = &[
    program(
        "k8s.io/kubernetes/cmd/kube-apiserver",
        "kube-apiserver",
        BIN,
    ),
    program(
        "k8s.io/kubernetes/cmd/kube-controller-manager",
        "kube-controller-manager",
        BIN,
    ),
    program(
        "k8s.io/kubernetes/cmd/kube-scheduler",
        "kube-scheduler",
        BIN,
    ),
    program("k8s.io/kubernetes/cmd/kubelet", "kubelet", BIN),
    program("k8s.io/kubernetes/cmd/kube-proxy", "kube-proxy", BIN),
    program("k8s.io/kubernetes/cmd/kubectl", "kubectl", BIN),
    program("k8s.io/kubernetes/test/images/agnhost", "agnhost", ""),
    program("k8s.io/kubernetes/test/images/nonewprivs", "nnp", ""),
    program("k8s.io/sample-apiserver", "sample-apiserver", ""),
];

/// vial has no use for it; whoever compares vial with kubeadm does.
const KUBERNETES_EXTRAS: &[Program] = &[program("k8s.io/kubernetes/cmd/kubeadm", "kubeadm", BIN)];

/// What upstream's Dockerfiles of these images copy (`test/images/agnhost`, `kitten`, `nautilus`).
const KUBERNETES_ASSETS: &[&str] = &[
    "test/images/agnhost/porter/localhost.crt",
    "test/images/agnhost/porter/localhost.key",
    "test/images/kitten/html/data.json",
    "test/images/kitten/html/kitten.jpg",
    "test/images/nautilus/html/data.json",
    "test/images/nautilus/html/nautilus.jpg",
];

/// What upstream's `hack/lib/version.sh` sets.
const KUBERNETES_VARIABLES: &[(&str, &str)] = &[
    ("k8s.io/component-base/version.gitVersion", "%V"),
    ("k8s.io/component-base/version.gitMajor", "%J"),
    ("k8s.io/component-base/version.gitMinor", "%N"),
    ("k8s.io/component-base/version.gitTreeState", "clean"),
    ("k8s.io/component-base/version.gitCommit", ""),
    ("k8s.io/client-go/pkg/version.gitVersion", "%V"),
    ("k8s.io/client-go/pkg/version.gitMajor", "%J"),
    ("k8s.io/client-go/pkg/version.gitMinor", "%N"),
    ("k8s.io/client-go/pkg/version.gitTreeState", "clean"),
    ("k8s.io/client-go/pkg/version.gitCommit", ""),
];

/// A Kubernetes version that vial has components for.
#[derive(Debug, Clone, Copy)]
pub struct Supported {
    /// `v1.36.3`.
    pub version: &'static str,
    /// What this version's e2e tests call the images that they run (`test/utils/image/manifest.go`).
    pub(crate) test_images: TestImages,
    pub(crate) module: Module,
}

/// Images that Kubernetes' conformance tests run, as they name them, without the registry; where there are two, both
/// are used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TestImages {
    pub(crate) agnhost: &'static [&'static str],
    pub(crate) busybox: &'static str,
    pub(crate) dns: &'static str,
    /// Not below `e2e-test-images`.
    pub(crate) etcd: &'static str,
    pub(crate) kitten: &'static str,
    pub(crate) nautilus: &'static str,
    pub(crate) nginx: &'static [&'static str],
    pub(crate) nonewprivs: &'static str,
    pub(crate) nonroot: &'static str,
    pub(crate) sample_apiserver: &'static str,
}

/// Kubernetes versions that vial has components for, newest first.
pub const SUPPORTED: &[Supported] = &[
    Supported {
        version: "v1.36.3",
        test_images: TestImages {
            agnhost: &["agnhost:2.63.0", "agnhost:2.55"],
            busybox: "busybox:1.37.0-1",
            dns: "glibc-dns-testing:2.0.0",
            etcd: "etcd:3.6.8-0",
            kitten: "kitten:1.8",
            nautilus: "nautilus:1.8",
            nginx: &["nginx:1.15-4", "nginx:1.27-0"],
            nonewprivs: "nonewprivs:1.4",
            nonroot: "nonroot:1.5",
            sample_apiserver: "sample-apiserver:1.29.2",
        },
        module: Module {
            name: "kubernetes-1.36",
            files: files!("kubernetes-1.36": "go.mod", "go.sum"),
            upstream: "k8s.io/kubernetes",
            programs: KUBERNETES_PROGRAMS,
            extras: KUBERNETES_EXTRAS,
            assets: KUBERNETES_ASSETS,
            variables: KUBERNETES_VARIABLES,
        },
    },
    Supported {
        version: "v1.35.4",
        test_images: TestImages {
            agnhost: &["agnhost:2.59", "agnhost:2.55"],
            busybox: "busybox:1.37.0-1",
            dns: "jessie-dnsutils:1.7",
            etcd: "etcd:3.6.6-0",
            kitten: "kitten:1.7",
            nautilus: "nautilus:1.7",
            nginx: &["nginx:1.14-4", "nginx:1.15-4"],
            nonewprivs: "nonewprivs:1.3",
            nonroot: "nonroot:1.4",
            sample_apiserver: "sample-apiserver:1.29.2",
        },
        module: Module {
            name: "kubernetes-1.35",
            files: files!("kubernetes-1.35": "go.mod", "go.sum"),
            upstream: "k8s.io/kubernetes",
            programs: KUBERNETES_PROGRAMS,
            extras: KUBERNETES_EXTRAS,
            assets: KUBERNETES_ASSETS,
            variables: KUBERNETES_VARIABLES,
        },
    },
];

/// The supported version that `v1.36.3`, `1.36.3`, `v1.36` or `1.36` means.
pub fn supported(version: &str) -> Result<&'static Supported> {
    let plain = version.trim().trim_start_matches('v');
    SUPPORTED
        .iter()
        .find(|known| {
            let known = known.version.trim_start_matches('v');
            known == plain
                || known
                    .rsplit_once('.')
                    .is_some_and(|(minor, _)| minor == plain)
        })
        .ok_or_else(|| Error::UnsupportedKubernetes {
            version: version.to_owned(),
            supported: SUPPORTED
                .iter()
                .map(|known| known.version.to_owned())
                .collect(),
        })
}

/// The supported version of the same minor, or else the newest: for what a foreign Kubernetes build lacks.
pub(crate) fn nearest(version: &str) -> &'static Supported {
    let minor = |version: &str| {
        version
            .trim_start_matches('v')
            .split('.')
            .take(2)
            .collect::<Vec<_>>()
            .join(".")
    };
    SUPPORTED
        .iter()
        .find(|known| minor(known.version) == minor(version))
        .unwrap_or(&SUPPORTED[0])
}

/// Every module but Kubernetes.
pub(crate) const OTHERS: &[Module] = &[
    Module {
        name: "etcd",
        files: files!("etcd": "go.mod", "go.sum", "main.go"),
        upstream: "go.etcd.io/etcd/server/v3",
        programs: &[
            program(".", "etcd", BIN),
            program("go.etcd.io/etcd/etcdctl/v3", "etcdctl", BIN),
        ],
        extras: &[],
        assets: &[],
        variables: &[("go.etcd.io/etcd/api/v3/version.GitSHA", "module")],
    },
    Module {
        name: "containerd",
        files: files!("containerd": "go.mod", "go.sum"),
        upstream: "github.com/containerd/containerd/v2",
        programs: &[
            program(
                "github.com/containerd/containerd/v2/cmd/containerd",
                "containerd",
                BIN,
            ),
            program(
                "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
                "containerd-shim-runc-v2",
                BIN,
            ),
            program("github.com/containerd/containerd/v2/cmd/ctr", "ctr", BIN),
        ],
        extras: &[],
        assets: &[],
        variables: &[("github.com/containerd/containerd/v2/version.Version", "%V")],
    },
    Module {
        name: "cni-plugins",
        files: files!("cni-plugins": "go.mod", "go.sum"),
        upstream: "github.com/containernetworking/plugins",
        programs: &[
            program(
                "github.com/containernetworking/plugins/plugins/ipam/host-local",
                "host-local",
                CNI,
            ),
            program(
                "github.com/containernetworking/plugins/plugins/ipam/static",
                "static",
                CNI,
            ),
            program(
                "github.com/containernetworking/plugins/plugins/main/bridge",
                "bridge",
                CNI,
            ),
            program(
                "github.com/containernetworking/plugins/plugins/main/ipvlan",
                "ipvlan",
                CNI,
            ),
            program(
                "github.com/containernetworking/plugins/plugins/main/loopback",
                "loopback",
                CNI,
            ),
            program(
                "github.com/containernetworking/plugins/plugins/main/macvlan",
                "macvlan",
                CNI,
            ),
            program(
                "github.com/containernetworking/plugins/plugins/main/ptp",
                "ptp",
                CNI,
            ),
            program(
                "github.com/containernetworking/plugins/plugins/main/vlan",
                "vlan",
                CNI,
            ),
            program(
                "github.com/containernetworking/plugins/plugins/meta/bandwidth",
                "bandwidth",
                CNI,
            ),
            program(
                "github.com/containernetworking/plugins/plugins/meta/firewall",
                "firewall",
                CNI,
            ),
            program(
                "github.com/containernetworking/plugins/plugins/meta/portmap",
                "portmap",
                CNI,
            ),
            program(
                "github.com/containernetworking/plugins/plugins/meta/sbr",
                "sbr",
                CNI,
            ),
            program(
                "github.com/containernetworking/plugins/plugins/meta/tuning",
                "tuning",
                CNI,
            ),
        ],
        extras: &[],
        assets: &[],
        variables: &[(
            "github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion",
            "%V",
        )],
    },
    Module {
        name: "coredns",
        files: files!("coredns": "go.mod", "go.sum", "main.go"),
        upstream: "github.com/coredns/coredns",
        programs: &[program(".", "coredns", "")],
        extras: &[],
        assets: &[],
        variables: &[("github.com/coredns/coredns/coremain.GitCommit", "module")],
    },
    Module {
        name: "registry",
        files: files!("registry": "go.mod", "go.sum"),
        upstream: "github.com/distribution/distribution/v3",
        programs: &[program(
            "github.com/distribution/distribution/v3/cmd/registry",
            "registry",
            BIN,
        )],
        extras: &[],
        assets: &[],
        variables: &[(
            "github.com/distribution/distribution/v3/version.version",
            "%V",
        )],
    },
    Module {
        name: "local-path-provisioner",
        files: files!("local-path-provisioner": "go.mod", "go.sum"),
        upstream: "github.com/rancher/local-path-provisioner",
        programs: &[program(
            "github.com/rancher/local-path-provisioner",
            "local-path-provisioner",
            BIN,
        )],
        extras: &[],
        assets: &[],
        variables: &[("main.VERSION", "%V")],
    },
    Module {
        name: "pause",
        files: files!("pause": "go.mod", "main.go"),
        upstream: "",
        programs: &[program(".", "pause", "")],
        extras: &[],
        assets: &[],
        variables: &[],
    },
    Module {
        name: "image-root",
        files: files!("image-root": "go.mod", "go.sum", "main.go", "rewrite.go"),
        upstream: "",
        programs: &[program(".", "image-root", "")],
        extras: &[],
        assets: &[],
        variables: &[],
    },
];

impl Module {
    /// The upstream's version, as go.mod pins it; `v1` for vial's own programs.
    pub(crate) fn version(&self) -> &'static str {
        if self.upstream.is_empty() {
            return "v1";
        }
        let go_mod = self
            .files
            .iter()
            .find(|(name, _)| *name == "go.mod")
            .map_or("", |(_, text)| *text);
        go_mod
            .lines()
            .filter_map(|line| {
                line.trim()
                    .trim_start_matches("require ")
                    .strip_prefix(self.upstream)
            })
            .find_map(|rest| rest.strip_prefix(' ')?.split_whitespace().next())
            .unwrap_or("unknown")
    }

    /// What `go build -ldflags` gets.
    pub(crate) fn linker_flags(&self) -> String {
        let version = self.version();
        let mut numbers = version.trim_start_matches('v').split('.');
        let (major, minor) = (
            numbers.next().unwrap_or_default(),
            numbers.next().unwrap_or_default(),
        );
        let mut flags = String::from("-s -w -buildid=");
        for (name, value) in self.variables {
            let value = value
                .replace("%V", version)
                .replace("%v", version.trim_start_matches('v'))
                .replace("%J", major)
                .replace("%N", minor);
            flags.push_str(&format!(" -X {name}={value}"));
        }
        flags
    }

    /// Adds everything that decides what is built, but the Go version.
    pub(crate) fn digest_into(&self, hasher: &mut Hasher) {
        hasher.field(self.name);
        for (name, content) in self.files {
            hasher.field(name);
            hasher.field(content);
        }
        for program in self.programs {
            hasher.field(program.package);
            hasher.field(program.name);
        }
        for asset in self.assets {
            hasher.field(asset);
        }
        hasher.field(self.linker_flags());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pinned_version_is_found() {
        for known in SUPPORTED {
            assert_eq!(known.module.version(), known.version);
        }
        for module in OTHERS {
            assert!(
                module.version().starts_with('v'),
                "{}: {}",
                module.name,
                module.version()
            );
        }
    }

    #[test]
    fn every_tool_line_is_a_program_and_the_other_way_round() {
        for module in OTHERS
            .iter()
            .chain(SUPPORTED.iter().map(|known| &known.module))
        {
            let go_mod = module.files[0].1;
            let tools: std::collections::BTreeSet<_> = go_mod
                .lines()
                .skip_while(|line| !line.starts_with("tool"))
                .map(|line| line.trim_start_matches("tool").trim())
                .filter(|line| line.contains('/'))
                .collect();
            let programs: std::collections::BTreeSet<_> = module
                .programs
                .iter()
                .chain(module.extras)
                .map(|p| p.package)
                .filter(|p| *p != ".")
                .collect();
            assert_eq!(tools, programs, "{}", module.name);
        }
    }

    #[test]
    fn versions_may_be_written_short() {
        for text in ["v1.36.3", "1.36.3", "1.36", "v1.36"] {
            assert_eq!(supported(text).unwrap().version, "v1.36.3");
        }
        let error = supported("1.20").unwrap_err();
        assert!(
            error.hint().unwrap().contains("v1.36.3, v1.35.4"),
            "{error}"
        );
        assert_eq!(nearest("v1.35.0-alpha.1").version, "v1.35.4");
        assert_eq!(nearest("v1.40.0").version, "v1.36.3");
    }

    #[test]
    fn linker_flags_carry_the_version() {
        let flags = SUPPORTED[0].module.linker_flags();
        assert!(
            flags.contains("-X k8s.io/component-base/version.gitVersion=v1.36.3 "),
            "{flags}"
        );
        assert!(flags.contains("version.gitMinor=36 "), "{flags}");
    }
}
