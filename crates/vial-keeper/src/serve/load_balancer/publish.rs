//! What the API is told: the status of a Service, and events about it.

use k8s_openapi::api::core::v1::{LoadBalancerIngress, ObjectReference, Service};
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder};
use serde_json::json;

/// Who owns what vial writes into the status of Services.
pub(super) const MANAGER: &str = "vial-load-balancer";

/// How it went.
pub(super) enum Told {
    /// The Service is now like this.
    Done(Box<Service>),
    /// Somebody else has written addresses there: they are theirs.
    Conceded,
    /// There is no such Service any more.
    Gone,
    /// It may work next time.
    Failed,
}

/// Sets the addresses of a Service; none takes back those that vial set.
pub(super) async fn publish(
    client: kube::Client,
    service: &ObjectReference,
    ingress: &[LoadBalancerIngress],
) -> Told {
    let name = service.name.as_deref().unwrap_or_default();
    let status = match ingress {
        [] => json!({}),
        some => json!({"loadBalancer": {"ingress": some}}),
    };
    let patch = Patch::Apply(json!({
        "apiVersion": "v1",
        "kind": "Service",
        // Never another Service of that name.
        "metadata": {"name": name, "uid": service.uid},
        "status": status,
    }));
    let api: Api<Service> =
        Api::namespaced(client, service.namespace.as_deref().unwrap_or_default());
    match api
        .patch_status(name, &PatchParams::apply(MANAGER), &patch)
        .await
    {
        Ok(service) => Told::Done(Box::new(service)),
        Err(kube::Error::Api(status)) if status.code == 404 => Told::Gone,
        Err(kube::Error::Api(status))
            if status.code == 409 && status.message.starts_with("Apply failed") =>
        {
            Told::Conceded
        }
        Err(error) => {
            tracing::debug!(error = %crate::failure::chain(&error), service = name, "cannot set the status");
            Told::Failed
        }
    }
}

/// A warning at the Service, for `kubectl describe`.
pub(super) async fn warn(
    recorder: &Recorder,
    service: &ObjectReference,
    reason: &str,
    note: String,
) {
    let event = Event {
        type_: EventType::Warning,
        reason: reason.to_owned(),
        note: Some(note),
        action: "Balance".to_owned(),
        secondary: None,
    };
    // A warning that cannot be told changes nothing of the Service.
    if let Err(error) = recorder.publish(&event, service).await {
        tracing::debug!(error = %crate::failure::chain(&error), reason, "cannot publish an event");
    }
}
