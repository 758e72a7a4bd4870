//! containerd with its CNI configuration.

use serde_json::json;
use vial_spec::Cni;

use crate::plan::registry;

use super::{Args, Builder, Component, Content, Stage, files, probe};
use vial_rpc::probe::How;

/// Set where the image's own containerd root holds the sandbox image under this name.
pub(in crate::plan) const PAUSE: &str = "registry.k8s.io/pause:3.10.2";

pub(super) fn add(builder: &mut Builder<'_>) {
    let config = builder.file(files::public(
        "/etc/containerd/config.toml",
        Content::Text(configuration()),
    ));
    let mut reads = vec![config.clone()];
    if builder.context.spec.network.cni == Cni::Bridge {
        let text = cni(builder);
        // Read by containerd when it changes: no part of its identity.
        builder.file(files::public(
            "/etc/cni/net.d/10-vial.conflist",
            Content::Text(text),
        ));
    }
    for file in registry::hosts_files(builder.context) {
        builder.file(file);
    }
    reads.sort();
    builder.add(Component {
        name: "containerd",
        args: Args::default().set("config", &config),
        argv: None,
        reads,
        ready: Some(probe(How::UnixSocket(
            "/run/containerd/containerd.sock".into(),
        ))),
        after: &[],
        stage: Stage::Boot,
    });
}

fn configuration() -> String {
    indoc::formatdoc! {r#"
        version = 3
        root = "/var/lib/containerd"
        state = "/run/containerd"
        oom_score = 0

        [plugins.'io.containerd.cri.v1.runtime']
          # A restricted host refuses to lower OOM scores.
          restrict_oom_score_adj = true
          disable_apparmor = true
          [plugins.'io.containerd.cri.v1.runtime'.cni]
            bin_dirs = ['/opt/cni/bin']
            conf_dir = '/etc/cni/net.d'
          [plugins.'io.containerd.cri.v1.runtime'.containerd]
            default_runtime_name = 'runc'
            [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
              runtime_type = 'io.containerd.runc.v2'
              [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
                SystemdCgroup = false
            [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.crun]
              runtime_type = 'io.containerd.runc.v2'
              [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.crun.options]
                BinaryName = '/usr/bin/crun'
                SystemdCgroup = false

        [plugins.'io.containerd.cri.v1.images']
          snapshotter = 'overlayfs'
          [plugins.'io.containerd.cri.v1.images'.registry]
            config_path = '/etc/containerd/certs.d'
          [plugins.'io.containerd.cri.v1.images'.pinned_images]
            sandbox = '{PAUSE}'
    "#}
}

/// bridge + host-local + portmap, pods' addresses fixed by the plan.
fn cni(builder: &Builder<'_>) -> String {
    let cidrs = builder.context.spec.node_pod_cidrs(builder.node);
    let ranges: Vec<_> = cidrs
        .iter()
        .map(|cidr| json!([{"subnet": cidr.to_string()}]))
        .collect();
    let routes: Vec<_> = cidrs
        .iter()
        .map(|cidr| json!({"dst": if cidr.addr().is_ipv4() { "0.0.0.0/0" } else { "::/0" }}))
        .collect();
    let config = json!({
        "cniVersion": "1.0.0",
        "name": "vial",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": true,
                "ipMasq": false,
                "hairpinMode": true,
                "ipam": {"type": "host-local", "dataDir": "/run/cni/ipam", "ranges": ranges, "routes": routes},
            },
            // Masquerading is for the way out, which pods' ports do not take: nftables works without iptables.
            {"type": "portmap", "capabilities": {"portMappings": true}, "backend": "nftables"},
        ],
    });
    format!("{config:#}\n")
}
