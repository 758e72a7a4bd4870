//! What the API knows of loaded images: pods that name one get it from the node, whatever its tag.
//!
//! Kubernetes asks a registry for the tag `latest` at every start of a container (`imagePullPolicy` is then `Always` by
//! default). The policy `loaded-images.vial.dev` (plan/manifests/images.yaml) makes that `IfNotPresent` for the names in a
//! ConfigMap, which is written here: after a load, a removal, and at every `up`.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, PodSpec};
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use vial_image::load::{ImageName, ImageStore};

use crate::{Error, Result};

/// Where the policy looks.
const NAMESPACE: &str = "kube-system";
const NAME: &str = "vial-loaded-images";
/// Who owns the fields that vial sets.
const MANAGER: &str = "vial";
/// How long the API server may take to see what was written to it; it is some milliseconds.
const SEEN: Duration = Duration::from_secs(5);

/// Tells the API which images the store has.
///
/// # Errors
/// When the list cannot be read, or the API does not take it.
pub async fn tell(client: &kube::Client, store: &ImageStore) -> Result<()> {
    let images = store.images()?;
    let latest = images.iter().filter(|image| image.name.is_latest());
    let names: Vec<String> = latest.flat_map(|image| image.name.spellings()).collect();
    let map = ConfigMap {
        metadata: ObjectMeta {
            name: Some(NAME.into()),
            namespace: Some(NAMESPACE.into()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([("names".into(), names.join(" "))])),
        ..ConfigMap::default()
    };
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let params = PatchParams::apply(MANAGER).force();
    let told = maps.patch(NAME, &params, &Patch::Apply(&map)).await;
    told.map_err(Error::kube("cannot tell the API which images are loaded"))?;
    Ok(())
}

/// Waits until a pod that is made now would take the image from its node. `false`: it would not, in time; the policy may be
/// switched off, or gone.
pub async fn fits(client: &kube::Client, name: &ImageName) -> bool {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let pod = Pod {
        metadata: ObjectMeta {
            generate_name: Some("vial-image-".into()),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            containers: vec![Container {
                name: "c".into(),
                image: Some(name.to_string()),
                ..Container::default()
            }],
            ..PodSpec::default()
        }),
        ..Pod::default()
    };
    // Nothing is made of it; all that would change a pod does so.
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let asking = async {
        loop {
            let made = pods.create(&dry_run, &pod).await.ok();
            let containers = made.and_then(|pod| pod.spec).map(|spec| spec.containers);
            let policy = containers.iter().flatten().next();
            let policy = policy.and_then(|container| container.image_pull_policy.as_deref());
            if policy.is_some_and(|policy| policy != "Always") {
                return;
            }
            // The API server tells nobody when its policies have seen what they depend on.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SEEN, asking).await.is_ok()
}
