//! How the ssh server comes into pods of a cluster.
//!
//! ```text
//! --sshd IMAGE ─► that image
//! --sshd api   ─► ConfigMaps, put together by the pod's own image
//! --sshd auto  ─► what a vial cluster says of itself (kube-public/vial); else as with `api`
//! ```

use std::time::Duration;

use vial_cloud::Facts;
use vial_cloud::plan::{Means, Parts};

use super::place::Place;
use crate::error::Result;

/// How long a vial cluster that has just come up may take to say what it has.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks the cluster what it says of itself. A vial cluster that has just come up is waited for a little.
///
/// # Errors
/// When the API does not answer.
pub(crate) async fn facts(place: &Place) -> Result<Facts> {
    let facts = place.cloud.facts().await?;
    if facts.sshd_image.is_some() || place.cluster.is_none() {
        return Ok(facts);
    }
    Ok(place.cloud.await_facts(PATIENCE).await?)
}

/// The way that `--sshd` names.
pub(crate) fn choose(way: &str, facts: &Facts) -> Means {
    match (way, &facts.sshd_image) {
        ("auto", Some(image)) => Means::Image(image.clone()),
        ("auto" | "api", _) => Means::Parts(parts()),
        (image, _) => Means::Image(image.to_owned()),
    }
}

/// The server alone: an image that has a shell to put it together needs no other one.
fn parts() -> Parts {
    Parts {
        name: format!("vial-sshd-{}", vial_means::image_tag(None)),
        parts: vial_means::parts(None),
        script: vial_means::unpack_script(),
    }
}
