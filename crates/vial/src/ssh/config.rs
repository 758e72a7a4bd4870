//! The text of an ssh configuration (ssh_config(5)) for a cluster's nodes.

use std::fmt::Write as _;
use std::path::PathBuf;

use vial_cloud::ssh::config::trust;
use vial_cloud::ssh::quote::{proxy_word, word};

/// A cluster as ssh has to know it.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    /// Its name.
    pub(crate) name: String,
    /// Its nodes.
    pub(crate) nodes: Vec<String>,
    /// The private key that opens them.
    pub(crate) key: PathBuf,
    /// Their host keys.
    pub(crate) known_hosts: PathBuf,
    /// How they are reached.
    pub(crate) proxy: Proxy,
}

/// How a connection is made: by `vial netcat`.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    /// The vial binary, absolute.
    pub(crate) program: PathBuf,
    /// `VIAL_HOME`.
    pub(crate) home: PathBuf,
    /// `VIAL_RUN`.
    pub(crate) run: PathBuf,
    /// The person is not root.
    pub(crate) sudo: bool,
}

impl Cluster {
    /// What ssh has to know of the cluster, and nothing else.
    pub(crate) fn config(&self) -> String {
        let name = &self.name;
        let mut hosts = String::new();
        for node in &self.nodes {
            let _ = write!(hosts, "{node}.{name}.vial ");
        }
        // The pattern at the end gives a node that is not there vial's own error. IdentitiesOnly: an agent full of other
        // keys would use up the server's patience.
        format!(
            "# The nodes of cluster {name}, written by vial.
Host {hosts}*.{name}.vial
  User root
  ProxyCommand {proxy}
  IdentityFile {key}
  IdentitiesOnly yes
{trust}",
            proxy = self.proxy.command(name),
            key = word(&self.key),
            trust = trust(&self.known_hosts),
        )
    }

    /// The same before the person's own: for everything that vial does not decide.
    pub(crate) fn whole_config(&self) -> String {
        format!(
            "{}\nMatch all\nInclude ~/.ssh/config\nInclude /etc/ssh/ssh_config\n",
            self.config()
        )
    }
}

impl Proxy {
    /// For the person's shell, which executes it.
    fn command(&self, cluster: &str) -> String {
        let mut words: Vec<String> = Vec::new();
        if self.sudo {
            words.push("sudo".into());
        }
        let default = vial_engine::paths::Paths::default_roots();
        let roots = [
            ("VIAL_HOME", &self.home, &default.home),
            ("VIAL_RUN", &self.run, &default.run),
        ];
        let mut variables = roots
            .iter()
            .filter(|(_, path, default)| path != default)
            .map(|(name, path, _)| format!("{name}={}", proxy_word(&path.to_string_lossy())))
            .peekable();
        if variables.peek().is_some() {
            words.push("env".into());
            words.extend(variables);
        }
        words.push(proxy_word(&self.program.to_string_lossy()));
        words.push(format!("netcat -c {cluster} %h %p"));
        words.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn cluster(home: &str, program: &str) -> Cluster {
        Cluster {
            name: "dev".into(),
            nodes: vec!["cp-1".into(), "w-1".into()],
            key: Path::new(home).join("ssh/0/dev/id_ed25519"),
            known_hosts: Path::new(home).join("ssh/0/dev/known_hosts"),
            proxy: Proxy {
                program: program.into(),
                home: home.into(),
                run: "/run/vial".into(),
                sudo: false,
            },
        }
    }

    #[test]
    fn a_configuration_asks_nothing() {
        insta::assert_snapshot!(cluster("/var/lib/vial", "/usr/bin/vial").config());
    }

    #[test]
    fn roots_and_sudo_are_passed_on() {
        let mut cluster = cluster("/srv/100% vial's", "/opt/my vial/vial");
        cluster.proxy.sudo = true;
        let text = cluster.config();
        let expected = r"ProxyCommand sudo env VIAL_HOME='/srv/100%% vial'\''s' '/opt/my vial/vial' netcat -c dev %h %p";
        assert!(text.contains(expected), "{text}");
        let expected = r#"IdentityFile "/srv/100%% vial's/ssh/0/dev/id_ed25519""#;
        assert!(text.contains(expected), "{text}");
    }
}
