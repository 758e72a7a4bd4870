//! Pods as other programs list machines: lines of /etc/hosts (hosts(5)), and inventories of Ansible; pure.
//!
//! <https://docs.ansible.com/ansible/latest/dev_guide/developing_inventory.html>: a dynamic inventory is a program that
//! prints JSON for `--list` and for `--host NAME`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use vial_cloud::pods::PodView;
use vial_cloud::ssh::config::long_name;

/// Pods of one cluster.
pub(crate) struct Machines<'a> {
    pub(crate) pods: &'a [PodView],
    /// What the cluster is called in their names.
    pub(crate) context: &'a str,
    /// The configuration by which ssh finds them.
    pub(crate) ssh_config: &'a Path,
}

/// Which address a line of /etc/hosts has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Addresses {
    /// That of the Service, which stays as long as the pod.
    Cluster,
    /// That of the Pod which runs now.
    Pod,
}

impl Machines<'_> {
    /// `ADDRESS NAME NAME.CONTEXT.vial`, a line for each address.
    pub(crate) fn hosts(&self, which: Addresses) -> String {
        let mut text = String::new();
        for pod in self.pods {
            let names = match self.is_alone(pod) {
                true => format!("{0} {0}.{1}.vial", pod.name, self.context),
                false => long_name(pod, self.context),
            };
            let addresses = match which {
                Addresses::Cluster => &pod.cluster_ips,
                Addresses::Pod => &pod.pod_ips,
            };
            for address in addresses {
                let _ = writeln!(text, "{address} {names}");
            }
        }
        text
    }

    /// An inventory file (INI).
    pub(crate) fn inventory(&self) -> String {
        let mut text = String::from("[vial]\n");
        for pod in self.pods {
            let Value::Object(variables) = self.variables(pod) else {
                continue;
            };
            text.push_str(&self.host(pod));
            for (name, value) in &variables {
                let value = value.as_str().unwrap_or_default();
                let _ = write!(text, " {name}={}", quoted(value));
            }
            text.push('\n');
        }
        for (batch, hosts) in self.batches() {
            let _ = write!(text, "\n[{batch}]\n{}\n", hosts.join("\n"));
        }
        text
    }

    /// What a dynamic inventory prints for `--list`.
    pub(crate) fn list(&self) -> Value {
        let hosts: Vec<String> = self.pods.iter().map(|pod| self.host(pod)).collect();
        let variables: BTreeMap<String, Value> = self
            .pods
            .iter()
            .map(|pod| (self.host(pod), self.variables(pod)))
            .collect();
        let mut all = json!({
            "vial": {"hosts": hosts},
            "_meta": {"hostvars": variables},
        });
        for (batch, hosts) in self.batches() {
            all[batch] = json!({"hosts": hosts});
        }
        all
    }

    /// What it prints for `--host NAME`: nothing is known of a host that is not there.
    pub(crate) fn of_host(&self, host: &str) -> Value {
        let pod = self.pods.iter().find(|pod| self.host(pod) == host);
        pod.map_or(json!({}), |pod| self.variables(pod))
    }

    fn is_alone(&self, pod: &PodView) -> bool {
        let same = self.pods.iter().filter(|other| other.name == pod.name);
        same.count() == 1
    }

    /// What Ansible calls it.
    fn host(&self, pod: &PodView) -> String {
        match self.is_alone(pod) {
            true => pod.name.clone(),
            false => format!("{}.{}", pod.name, pod.namespace),
        }
    }

    /// How Ansible reaches it, whether or not the person's own configuration includes that of vial.
    fn variables(&self, pod: &PodView) -> Value {
        let config = self.ssh_config.to_string_lossy();
        json!({
            "ansible_host": long_name(pod, self.context),
            "ansible_user": pod.user,
            "ansible_ssh_common_args": format!("-F {}", quoted(&config)),
        })
    }

    fn batches(&self) -> BTreeMap<String, Vec<String>> {
        let mut batches: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for pod in self.pods {
            if let Some(batch) = &pod.batch {
                // Names of groups are names of variables.
                let letter = |letter: char| match letter.is_ascii_alphanumeric() {
                    true => letter,
                    false => '_',
                };
                let group = format!("batch_{}", batch.chars().map(letter).collect::<String>());
                batches.entry(group).or_default().push(self.host(pod));
            }
        }
        batches
    }
}

/// A word, as a shell and an inventory take it.
fn quoted(text: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-".contains(letter);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(namespace: &str, name: &str) -> PodView {
        let service = json!({"metadata": {"name": name, "namespace": namespace,
            "labels": {"vial.dev/pod": name, "vial.dev/batch": "my-lab"}},
            "spec": {"clusterIPs": ["10.96.0.9", "fd00::9"]}});
        let service = serde_json::from_value(service).unwrap();
        PodView::of(&service, None, &[])
    }

    fn with<T>(pods: &[PodView], work: impl FnOnce(Machines) -> T) -> T {
        work(Machines {
            pods,
            context: "dev",
            ssh_config: Path::new("/home/ann b/.ssh/vial/whole_config"),
        })
    }

    #[test]
    fn every_address_has_a_line() {
        let text = with(&[pod("x", "a")], |machines| {
            machines.hosts(Addresses::Cluster)
        });
        assert_eq!(text, "10.96.0.9 a a.dev.vial\nfd00::9 a a.dev.vial\n");
        let text = with(&[pod("x", "a"), pod("y", "a")], |machines| {
            machines.hosts(Addresses::Cluster)
        });
        assert!(text.starts_with("10.96.0.9 a.x.dev.vial\n"), "{text}");
    }

    #[test]
    fn ansible_reads_both_inventories() {
        let pods = [pod("x", "a")];
        insta::assert_snapshot!(with(&pods, |machines| machines.inventory()));
        let list = with(&pods, |machines| machines.list());
        assert_eq!(list["vial"]["hosts"][0], "a");
        assert_eq!(list["batch_my_lab"]["hosts"][0], "a");
        let variables = with(&pods, |machines| machines.of_host("a"));
        assert_eq!(list["_meta"]["hostvars"]["a"], variables);
        assert_eq!(variables["ansible_host"], "a.x.dev.vial");
        assert_eq!(with(&pods, |machines| machines.of_host("b")), json!({}));
    }
}
