//! What vial asks of a node's containerd: the generated clients of the protocols in `proto/containerd`.
//!
//! They are excerpts of containerd's and the kubelet's own definitions: a field that is not listed is left at its
//! default in requests and skipped in answers, as protobuf has it. (The `containerd-client` crate has them all, and
//! needs an installed protoc to be built.)

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

use services::content::v1::content_client::ContentClient;
use services::diff::v1::diff_client::DiffClient;
use services::images::v1::images_client::ImagesClient;
use services::leases::v1::leases_client::LeasesClient;
use services::snapshots::v1::snapshots_client::SnapshotsClient;

/// Shared by the services.
pub mod types {
    tonic::include_proto!("containerd.types");
}

/// `containerd.services`.
pub mod services {
    /// Blobs.
    pub mod content {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("containerd.services.content.v1");
        }
    }
    /// Unpacking.
    pub mod diff {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("containerd.services.diff.v1");
        }
    }
    /// Names of manifests.
    pub mod images {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("containerd.services.images.v1");
        }
    }
    /// What keeps things from the garbage collector.
    pub mod leases {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("containerd.services.leases.v1");
        }
    }
    /// Unpacked layers.
    pub mod snapshots {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("containerd.services.snapshots.v1");
        }
    }
}

/// What the kubelet asks of a container runtime.
pub mod cri {
    tonic::include_proto!("runtime.v1");
}

type Service = InterceptedService<Channel, Scope>;

/// A containerd, seen through the kubelet's namespace. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Containerd {
    channel: Channel,
    scope: Scope,
}

/// What goes with every request (containerd's pkg/namespaces and core/leases, `grpc.go`).
#[derive(Debug, Clone)]
pub struct Scope {
    lease: Option<MetadataValue<Ascii>>,
}

impl Interceptor for Scope {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let headers = request.metadata_mut();
        headers.insert("containerd-namespace", MetadataValue::from_static("k8s.io"));
        if let Some(lease) = &self.lease {
            headers.insert("containerd-lease", lease.clone());
        }
        Ok(request)
    }
}

impl Containerd {
    /// `channel` leads to its socket.
    pub fn new(channel: Channel) -> Self {
        let scope = Scope { lease: None };
        Self { channel, scope }
    }

    /// From now on, what is made belongs to this lease as well.
    pub fn leased(&self, lease: &'static str) -> Self {
        let lease = Some(MetadataValue::from_static(lease));
        Self {
            scope: Scope { lease },
            ..self.clone()
        }
    }

    /// Blobs.
    pub fn content(&self) -> ContentClient<Service> {
        ContentClient::with_interceptor(self.channel.clone(), self.scope.clone())
    }

    /// Unpacking.
    pub fn diff(&self) -> DiffClient<Service> {
        DiffClient::with_interceptor(self.channel.clone(), self.scope.clone())
    }

    /// Names of manifests.
    pub fn images(&self) -> ImagesClient<Service> {
        ImagesClient::with_interceptor(self.channel.clone(), self.scope.clone())
    }

    /// What keeps things from the garbage collector.
    pub fn leases(&self) -> LeasesClient<Service> {
        LeasesClient::with_interceptor(self.channel.clone(), self.scope.clone())
    }

    /// Unpacked layers.
    pub fn snapshots(&self) -> SnapshotsClient<Service> {
        SnapshotsClient::with_interceptor(self.channel.clone(), self.scope.clone())
    }

    /// What the kubelet sees.
    pub fn cri(&self) -> cri::image_service_client::ImageServiceClient<Channel> {
        cri::image_service_client::ImageServiceClient::new(self.channel.clone())
    }
}
