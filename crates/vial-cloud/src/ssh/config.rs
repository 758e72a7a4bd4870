//! The text of ssh's configuration (ssh_config(5)) and of its known hosts for the pods of one cluster; pure.
//!
//! What a cluster says of its pods may be written by others: whatever is not a name, a user or a key is left out, so that
//! nothing of it is ever read as an option or by a shell.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::quote::word;
use crate::pods::{PodView, State};

/// A cluster, as ssh calls it.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// What its pods are called by: `NAME.CONTEXT.vial`.
    pub context: &'a str,
    /// Names that mean something else there already: its nodes.
    pub taken: &'a [String],
    /// Private keys of the person, in the order in which they are tried.
    pub keys: &'a [PathBuf],
    /// Where [`Text::known_hosts`] is to be.
    pub known_hosts: &'a Path,
}

/// The files of one cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text {
    /// For ssh_config(5).
    pub config: String,
    /// Host keys (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT").
    pub known_hosts: String,
}

/// Pods that one can connect to, by all their names; `proxy` makes the command that reaches a pod, with `%` doubled.
pub fn text<'a>(
    site: Site<'_>,
    pods: impl IntoIterator<Item = &'a PodView>,
    proxy: impl Fn(&PodView) -> String,
) -> Text {
    let mut by_name: BTreeMap<&str, Vec<(&PodView, &str)>> = BTreeMap::new();
    for pod in pods {
        if let Some(key) = host_key(pod) {
            by_name.entry(&pod.name).or_default().push((pod, key));
        }
    }
    let mut text = Text::default();
    let context = site.context;
    for (name, pods) in by_name {
        let middle = format!("{name}.{context}.vial");
        let free = !site.taken.iter().any(|taken| taken == name);
        if pods.len() > 1 && free {
            let those = pods.iter().map(|(pod, _)| long_name(pod, context));
            text.config.push_str(&clash(&middle, those));
        }
        for (pod, key) in &pods {
            let long = long_name(pod, context);
            let mut hosts = long.clone();
            if pods.len() == 1 && free {
                hosts = format!("{middle} {long}");
            }
            let options = options(site, pod, &long, &proxy(pod));
            let _ = write!(text.config, "Host {hosts}\n{options}");
            let _ = writeln!(text.known_hosts, "{long} {key}");
        }
    }
    text
}

/// What a pod is called whatever else there is.
#[must_use]
pub fn long_name(pod: &PodView, context: &str) -> String {
    format!("{}.{}.{context}.vial", pod.name, pod.namespace)
}

/// A name that several have: whoever uses it is told which names they have beside it, and nothing else. The shell keeps its
/// standard output until it has spoken: ssh ends it when that closes.
pub(super) fn clash(name: &str, those: impl Iterator<Item = String>) -> String {
    let those: Vec<String> = those.collect();
    format!(
        "Host {name}\n  ProxyCommand sh -c 'echo \"error: several pods are called {name}: say {}\" >&2; exit 1'\n  LogLevel FATAL\n  CanonicalizeHostname no\n",
        those.join(" or ")
    )
}

/// Every option that the configuration of the nodes has, too: of two values ssh takes the first, and a pod's name may look
/// like a node's. The person's own keys and agent count beside vial's key.
fn options(site: Site<'_>, pod: &PodView, long: &str, proxy: &str) -> String {
    let keys: String = site
        .keys
        .iter()
        .map(|key| format!("  IdentityFile {}\n", word(key)))
        .collect();
    format!(
        "  User {user}
  ProxyCommand {proxy}
  HostKeyAlias {long}
{keys}  IdentitiesOnly no
{trust}",
        user = pod.user,
        trust = trust(site.known_hosts),
    )
}

/// Lines by which a host is known by its key in this file alone, and nothing is asked: of pods as of nodes.
#[must_use]
pub fn trust(known_hosts: &Path) -> String {
    format!(
        "  UserKnownHostsFile {known_hosts}
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  UpdateHostKeys no
  HostKeyAlgorithms ssh-ed25519
  CanonicalizeHostname no
  PreferredAuthentications publickey
",
        known_hosts = word(known_hosts),
    )
}

/// The host key of a pod that ssh may be told of.
fn host_key(pod: &PodView) -> Option<&str> {
    let known = pod.state != State::Ending
        && is_label(&pod.name)
        && is_label(&pod.namespace)
        && is_user(&pod.user);
    let key = pod.host_key.as_deref()?.trim();
    let body = key.strip_prefix("ssh-ed25519 ")?.split(' ').next()?;
    let base64 = |letter: u8| letter.is_ascii_alphanumeric() || b"+/=".contains(&letter);
    let sound = known && !body.is_empty() && body.bytes().all(base64);
    sound.then(|| &key[.."ssh-ed25519 ".len() + body.len()])
}

/// A label of a host's name as Kubernetes has it (RFC 1123).
pub(super) fn is_label(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(|byte| letter(byte) || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_user(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !text.is_empty() && !text.starts_with('-') && text.bytes().all(letter)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::ssh) fn pod(namespace: &str, name: &str) -> PodView {
        let service = serde_json::json!({"metadata": {"name": name, "namespace": namespace,
            "labels": {"vial.dev/pod": name},
            "annotations": {"vial.dev/user": "ann", "vial.dev/host-key": "ssh-ed25519 AAAAC3 of a pod"}}});
        PodView::of(&serde_json::from_value(service).unwrap(), None, &[])
    }

    pub(in crate::ssh) fn of(context: &str, pods: &[PodView]) -> Text {
        let keys = ["/home/ann/.ssh/vial/id_ed25519".into()];
        let site = Site {
            context,
            taken: &["w-1".to_owned()],
            keys: &keys,
            known_hosts: Path::new("/var/lib/vial/ssh/1000/dev/pods_known_hosts"),
        };
        text(site, pods, |pod| {
            format!(
                "vial netcat -c {context} svc/{}/{} 22",
                pod.namespace, pod.name
            )
        })
    }

    #[test]
    fn a_pod_is_found_by_its_names_and_nothing_is_asked() {
        let text = of("dev", &[pod("vial-pods", "a")]);
        insta::assert_snapshot!(format!("{}---\n{}", text.config, text.known_hosts));
    }

    #[test]
    fn a_name_of_two_namespaces_tells_which() {
        let text = of("dev", &[pod("one", "a"), pod("two", "a")]).config;
        let said =
            "error: several pods are called a.dev.vial: say a.one.dev.vial or a.two.dev.vial";
        assert!(text.contains(said), "{text}");
        assert!(text.contains("\nHost a.one.dev.vial\n"), "{text}");
    }

    #[test]
    fn a_node_keeps_its_name() {
        let text = of("dev", &[pod("vial-pods", "w-1")]).config;
        assert!(text.starts_with("Host w-1.vial-pods.dev.vial\n"), "{text}");
    }

    #[test]
    fn nothing_of_a_cluster_becomes_an_option() {
        let mut bad = Vec::new();
        for (user, key) in [
            ("root\n  ProxyCommand x", "ssh-ed25519 AAAA"),
            ("-oProxyCommand=x", "ssh-ed25519 AAAA"),
            ("", "ssh-ed25519 AAAA"),
            ("root", "ssh-ed25519 AA\nb.dev.vial ssh-ed25519 AAAA"),
            ("root", "ssh-rsa AAAA"),
            ("root", ""),
        ] {
            let mut pod = pod("vial-pods", "a");
            (pod.user, pod.host_key) = (user.into(), Some(key.into()));
            bad.push(pod);
        }
        for name in ["a b", "*", "a.b", "A", "-a", "a\nb", ""] {
            let mut pod = pod("vial-pods", "a");
            pod.name = name.into();
            bad.push(pod);
        }
        for pod in bad {
            assert_eq!(
                of("dev", std::slice::from_ref(&pod)),
                Text::default(),
                "{pod:?}"
            );
        }
    }
}
