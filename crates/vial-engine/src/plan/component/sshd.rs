//! OpenSSH's server on every node: keys only.

use super::{Args, Builder, Component, Content, Stage, files, probe};
use vial_rpc::probe::How;

const CONFIG: &str = "\
# Written by vial: keys only, the node's own host key, no PAM.
Port 22
HostKey /etc/ssh/vial_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PrintMotd no
AcceptEnv LANG LC_*
AuthorizedKeysFile .ssh/authorized_keys /etc/ssh/vial_authorized_keys
# All clients come from one address, the cluster's own end of `vial netcat`; the many at once are one person's.
PerSourcePenalties no
MaxStartups 100
MaxSessions 100
Subsystem sftp internal-sftp
PidFile none
";

pub(super) fn add(builder: &mut Builder<'_>) {
    let node = builder.node.name.clone();
    let config = builder.file(files::public(
        "/etc/ssh/sshd_config",
        Content::Text(CONFIG.into()),
    ));
    let key = builder.file(files::private(
        "/etc/ssh/vial_host_ed25519_key",
        Content::SshHostKey(node),
    ));
    // The person's key opens every account of the node, not only root's.
    let authorized = builder.file(files::public(
        "/etc/ssh/vial_authorized_keys",
        Content::SshAuthorizedKey,
    ));
    // Debian's sshd refuses to start without its privilege separation directory.
    builder.file(files::public(
        "/run/sshd/.vial",
        Content::Text(String::new()),
    ));
    builder.add(Component {
        name: "sshd",
        args: Args::default(),
        argv: Some(
            ["/usr/sbin/sshd", "-D", "-e", "-f", &config]
                .map(str::to_owned)
                .into(),
        ),
        reads: vec![config, key, authorized],
        ready: Some(probe(How::Tcp("127.0.0.1:22".into()))),
        after: &[],
        stage: Stage::Boot,
    });
}
