//! What was last seen of a Service; pure.

use k8s_openapi::api::core::v1::{LoadBalancerIngress, ObjectReference, Service};
use kube::{Resource as _, ResourceExt as _};

use super::publish::MANAGER;
use super::wanted::{Wanted, wanted};

/// A Service, as far as it concerns load balancers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Seen {
    pub(super) reference: ObjectReference,
    /// `None`: it wants none of ours.
    pub(super) wanted: Option<Wanted>,
    /// What its status says.
    pub(super) ingress: Vec<LoadBalancerIngress>,
    /// Something of its status was set by us.
    pub(super) marked: bool,
    /// Grows with every change of the object.
    version: u64,
}

impl Seen {
    pub(super) fn of(service: &Service) -> Self {
        let status = service
            .status
            .as_ref()
            .and_then(|status| status.load_balancer.as_ref());
        let managers = service.managed_fields().iter();
        Self {
            reference: service.object_ref(&()),
            wanted: wanted(service),
            ingress: status
                .and_then(|status| status.ingress.clone())
                .unwrap_or_default(),
            marked: managers.clone().any(|entry| {
                entry.manager.as_deref() == Some(MANAGER)
                    && entry.subresource.as_deref() == Some("status")
            }),
            version: service
                .resource_version()
                .and_then(|text| text.parse().ok())
                .unwrap_or_default(),
        }
    }

    /// Neither wants a load balancer nor has anything of ours.
    pub(super) fn is_foreign(&self) -> bool {
        self.wanted.is_none() && !self.marked
    }

    /// Answers and events cross: the newer one counts. (Resource versions are numbers that grow, KEP-5504.)
    pub(super) fn is_older_than(&self, other: &Self) -> bool {
        self.version < other.version
    }
}
