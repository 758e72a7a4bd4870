//! Pods that were made for a time (`--ttl`): warned of, then removed.
//!
//! ```text
//! made ──(10 minutes or a tenth of its time before)──► warned ──(expires)──► its Service is deleted ─► all it owns goes
//! ```
//! On a cluster of vial its keeper warns and removes. On every cluster the pod's own Job does ([`crate::plan::Timer`]) when
//! nothing of vial runs, and `vial pod` commands sweep what its controllers left.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, Preconditions, PropagationPolicy};

use crate::cloud::Cloud;
use crate::error::{Error, Result};
use crate::pods::{self, PodView, Scope, State};
use crate::words;

/// How long before its end a pod is warned of, at most.
const WARNING: SignedDuration = SignedDuration::from_mins(10);

/// When people are to be warned that a pod goes; `None` for one that stays.
#[must_use]
pub fn warning(pod: &PodView) -> Option<Timestamp> {
    let expires = pod.expires?;
    let tenth = pod
        .created
        .map(|created| expires.duration_since(created) / 10);
    let before = tenth.map_or(WARNING, |tenth| tenth.min(WARNING));
    expires.checked_sub(before).ok()
}

/// Has the time of a pod come?
#[must_use]
pub fn has_expired(pod: &PodView, now: Timestamp) -> bool {
    pod.state != State::Ending && pod.expires.is_some_and(|expires| expires <= now)
}

/// Removes the pods whose time has come; gives those.
///
/// # Errors
/// When they cannot be listed or removed.
pub async fn sweep(cloud: &Cloud, scope: &Scope) -> Result<Vec<PodView>> {
    let now = Timestamp::now();
    let mut removed = Vec::new();
    for pod in pods::services(cloud, scope).await? {
        if has_expired(&pod, now) && remove(cloud, &pod).await? {
            removed.push(pod);
        }
    }
    Ok(removed)
}

/// Removes a pod, unless it was given more time meanwhile; says whether it did.
///
/// # Errors
/// When the API refuses.
pub async fn remove(cloud: &Cloud, pod: &PodView) -> Result<bool> {
    let (namespace, name) = (&pod.namespace, &pod.name);
    let cannot = || format!("cannot remove the expired pod {namespace}/{name}");
    let services: Api<Service> = Api::namespaced(cloud.client().clone(), namespace);
    let found = services.get_opt(name).await.map_err(Error::api(cannot()))?;
    let Some(service) = found else {
        return Ok(false);
    };
    let view = PodView::of(&service, None, &[]);
    let ours = service.labels().get(words::POD) == Some(name);
    if !ours || !has_expired(&view, Timestamp::now()) {
        return Ok(false);
    }
    let params = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Background),
        // Whoever changes it at this moment wins.
        preconditions: Some(Preconditions {
            uid: service.uid(),
            resource_version: service.resource_version(),
        }),
        ..DeleteParams::default()
    };
    match services.delete(name, &params).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => Ok(false),
        Err(error) => Err(Error::of_api(cannot(), error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(created: &str, expires: &str) -> PodView {
        let service = serde_json::json!({"metadata": {"name": "a", "namespace": "vial-pods",
            "labels": {"vial.dev/pod": "a"},
            "annotations": {"vial.dev/created": created, "vial.dev/expires": expires}}});
        PodView::of(&serde_json::from_value(service).unwrap(), None, &[])
    }

    #[test]
    fn the_warning_comes_ten_minutes_or_a_tenth_before() {
        for (expires, expected) in [
            ("2026-11-21T14:00:00Z", "2026-11-21T13:50:00Z"),
            ("2026-11-21T12:00:50Z", "2026-11-21T12:00:45Z"),
        ] {
            let at = warning(&pod("2026-11-21T12:00:00Z", expires)).unwrap();
            assert_eq!(at.to_string(), expected);
        }
        assert_eq!(warning(&pod("2026-11-21T12:00:00Z", "never")), None);
    }

    #[test]
    fn only_what_has_expired_goes() {
        let pod = pod("2026-11-21T12:00:00Z", "2026-11-21T14:00:00Z");
        let at = |text: &str| has_expired(&pod, text.parse().unwrap());
        assert!(!at("2026-11-21T13:59:59Z"));
        assert!(at("2026-11-21T14:00:00Z"));
        let mut ending = pod.clone();
        ending.state = State::Ending;
        assert!(!has_expired(
            &ending,
            "2027-01-01T00:00:00Z".parse().unwrap()
        ));
    }
}
