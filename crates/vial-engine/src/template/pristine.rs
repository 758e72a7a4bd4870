//! Templates that vial makes by itself: of a cluster that has just come up for the first time in its shape, so that the next
//! ones of that shape need not start.
//!
//! ```text
//! up, cold ──► a pristine template of its shape ──► up of that shape: goes on from it ──► … not used for a week: removed
//! ```
//! Clusters that go on from one have the same authorities and keys, as forks do; `--fresh-keys` starts one that has not.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};
use vial_spec::ClusterSpec;

use super::{Ground, Made, Template, Templates};
use crate::Result;
use crate::paths::Paths;

/// How long one is kept that nobody uses.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// What clusters have in common that may go on from one template: all that is not their own, by a digest.
#[must_use]
pub fn shape(spec: &ClusterSpec, image_digest: &str) -> String {
    let common = ClusterSpec {
        name: String::new(),
        ports: Vec::new(),
        manifests: Vec::new(),
        ..spec.clone()
    };
    let text = serde_json::to_vec(&common).unwrap_or_default();
    let digest = Sha256::new().chain_update(text).chain_update(image_digest);
    let digest = digest.finalize();
    digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// What the template of a shape is called.
#[must_use]
pub fn name(shape: &str) -> String {
    format!("pristine-{shape}")
}

/// Can one be made of a new cluster of that kind? Not where nodes show directories of the host: those are not frozen.
#[must_use]
pub fn can_be_made(spec: &ClusterSpec) -> bool {
    let of_host = |node: &vial_spec::NodeConfig| node.host_paths().next().is_some();
    spec.manifests.is_empty() && !spec.nodes.iter().any(of_host)
}

/// The template of a shape, where it can go on here.
#[must_use]
pub fn find(paths: &Paths, spec: &ClusterSpec, shape: &str) -> Option<Template> {
    let templates = Templates::of(paths);
    let template = templates.find(&name(shape)).ok()?;
    let of_it = matches!(&template.made, Made::Pristine { shape: of } if of == shape);
    let here = Ground::of(paths, spec).ok()?;
    (of_it && template.ground.check(&template.name, &here).is_ok()).then_some(template)
}

/// It is used: it is kept for another while.
pub fn touch(paths: &Paths, template: &Template) {
    // One that cannot be touched is made again after a week.
    if let Ok(file) = File::open(Templates::of(paths).manifest(&template.name)) {
        let _ = file.set_modified(SystemTime::now());
    }
}

/// Removes those that cannot go on here any more, or that nobody used for a week.
///
/// # Errors
/// When the templates cannot be listed, or one cannot be removed.
pub fn prune(paths: &Paths, now: SystemTime) -> Result<()> {
    let templates = Templates::of(paths);
    for template in templates.list()? {
        if !matches!(template.made, Made::Pristine { .. }) {
            continue;
        }
        let here = Ground::of(paths, &template.spec)?;
        let fits = template.ground.check(&template.name, &here).is_ok();
        let used = fs::metadata(templates.manifest(&template.name)).and_then(|it| it.modified());
        let old = used.is_ok_and(|used| now.duration_since(used).is_ok_and(|unused| unused > KEPT));
        if !fits || old {
            templates.discard(&template.name)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use vial_spec::file::File;
    use vial_spec::{IpFamily, Overrides};

    use super::*;

    fn spec(overrides: &Overrides) -> ClusterSpec {
        let spec = File::default().validate(overrides, &|_| unreachable!("no file is named"));
        spec.expect("valid")
    }

    #[test]
    fn names_and_ports_are_a_clusters_own() {
        let shape = |overrides: &Overrides| shape(&spec(overrides), "sha256:1");
        let usual = Overrides::default();
        let another = Overrides {
            name: Some("another".into()),
            ports: vec!["8080:svc/default/web:80".parse().expect("a port")],
            ..Overrides::default()
        };
        assert_eq!(shape(&usual), shape(&another));
        for other in [
            Overrides {
                workers: Some(1),
                ..Overrides::default()
            },
            Overrides {
                ip_family: Some(IpFamily::Ipv4),
                ..Overrides::default()
            },
        ] {
            assert_ne!(shape(&usual), shape(&other));
        }
        assert_ne!(shape(&usual), super::shape(&spec(&usual), "sha256:2"));
        vial_spec::names::check_cluster(&name(&shape(&usual))).expect("a name of a template");
    }
}
