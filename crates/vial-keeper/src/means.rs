//! Brings the means by which pods are reached to a cluster, and then says that they are there.
//!
//! ```text
//!  an up is done, or a keeper took over ──► image in the cluster's store ──► on every node ──► kube-public/vial
//!                                              (links, from the cache)         (links)         names the image
//! ```
//! Nobody waits for it but who makes a pod, and only for the ConfigMap: it appears last. Nodes that come later get the
//! image with what was loaded.
//!
//! # On failure
//! It is tried again a few times, then left to the next `up` or keeper, with a line in the log. A cluster that is
//! removed meanwhile cuts it: what has to be whole holds the same lock as the making of a sandbox, which a removal
//! waits for.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use vial_cloud::Cloud;
use vial_cloud::execute::apply;
use vial_cloud::words::{
    FACT_CLUSTER, FACT_DEFAULT_IMAGE, FACT_SSHD_IMAGE, FACTS, FACTS_NAMESPACE, MANAGED_BY, MANAGER,
};
use vial_engine::images;
use vial_image::Store;
use vial_image::load::ImageName;
use vial_image::means::Means;

use crate::failure::chain;
use crate::keeper::Keeper;

/// The image of pods for which none is named: it is in every node image.
const DEFAULT_IMAGE: &str = "docker.io/vial/toolbox:1";
/// How often it is tried, and with which pause: an API that a new keeper finds may be coming back.
const TRIES: usize = 20;
const PAUSE: Duration = Duration::from_secs(3);
/// How often the store is tried while somebody else writes to it.
const LOOK: Duration = Duration::from_millis(200);

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Begins, for the sandbox that lives now; does nothing when there is none.
pub(crate) fn begin(keeper: &Arc<Keeper>) {
    let Some((_, closing)) = keeper.reach() else {
        return;
    };
    let keeper = Arc::clone(keeper);
    tokio::spawn(async move {
        tokio::select! {
            () = bring(&keeper) => {}
            () = closing.cancelled() => {}
        }
    });
}

async fn bring(keeper: &Arc<Keeper>) {
    for remaining in (0..TRIES).rev() {
        match once(keeper).await {
            Ok(()) => return,
            Err(error) => {
                let error = chain(error.as_ref());
                tracing::warn!(error, remaining, "pods cannot be reached by ssh yet");
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn once(keeper: &Arc<Keeper>) -> Result<(), Failure> {
    let image = enter(keeper).await?;
    {
        // Not while somebody else's images come or go; and the store's lock, which loads hold meanwhile, is free again.
        let _turn = keeper.images.lock().await;
        let living = keeper.living().ok_or("the sandbox ended")?;
        let cluster = crate::images::cluster(keeper, &living);
        images::complete(cluster, &(Arc::new(|_| {}) as _)).await?;
    }
    let living = keeper.living().ok_or("the sandbox ended")?;
    tell(&living.client, &keeper.name, &image).await
}

/// The image as one of the cluster's own.
async fn enter(keeper: &Arc<Keeper>) -> Result<ImageName, Failure> {
    let record = keeper.record()?.ok_or("the cluster has no record")?;
    let home = keeper.paths.home.clone();
    let means = blocking(move || {
        let means = Means::of(&Store::open(&home)?.find(&record.image_digest)?)?;
        means.keep(&home)?;
        Ok(means)
    });
    let means = Arc::new(means.await?);
    loop {
        let (means, paths, name) = (
            Arc::clone(&means),
            keeper.paths.clone(),
            keeper.name.clone(),
        );
        let making = Arc::clone(&keeper.making).lock_owned().await;
        let entered = blocking(move || {
            let _making = making;
            if !paths.cluster_dir(&name).is_dir() {
                return Err("the cluster is gone".into());
            }
            let writer = paths.image_store(&name).try_lock()?;
            let entered = writer.map(|writer| means.enter(&paths.home, &writer));
            Ok(entered.transpose()?)
        });
        if let Some(image) = entered.await? {
            return Ok(image.name);
        }
        // A load is at work, for as long as it takes: neither a removal of the cluster nor the end of this process may
        // have to wait for it.
        tokio::time::sleep(LOOK).await;
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await?
}

/// Says what the cluster has, to everybody who may log in to it.
async fn tell(client: &kube::Client, cluster: &str, image: &ImageName) -> Result<(), Failure> {
    let metadata = json!({
        "name": FACTS,
        "namespace": FACTS_NAMESPACE,
        "labels": {MANAGED_BY: MANAGER},
    });
    let facts = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {
            FACT_SSHD_IMAGE: image.as_str(),
            FACT_DEFAULT_IMAGE: DEFAULT_IMAGE,
            FACT_CLUSTER: cluster,
        },
    });
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": metadata,
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [FACTS], "verbs": ["get", "list", "watch"]}],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": FACTS},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:authenticated"}],
    });
    let cloud = Cloud::new(client.clone(), cluster);
    tokio::try_join!(
        apply(&cloud, facts),
        apply(&cloud, role),
        apply(&cloud, binding),
    )?;
    Ok(())
}
