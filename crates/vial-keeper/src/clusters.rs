//! All clusters of a machine, whatever state they are in.

use futures::future::join_all;
use vial_engine::execute::sandbox_spec;
use vial_engine::paths::Paths;
use vial_engine::record::{self, Record};
use vial_sandbox::{Maker as _, NamespaceMaker};

use crate::api::ClusterStatus;
use crate::client::{Client, ClientError};
use crate::lock::Owner;
use crate::status;

/// The state of every cluster, by name. Keepers that died are started again, and what ended sandboxes left is swept.
///
/// # Errors
/// When the clusters' directory cannot be read or a keeper cannot be started.
pub async fn clusters(paths: &Paths) -> Result<Vec<ClusterStatus>, ClientError> {
    let names = record::names(paths).map_err(ClientError::Engine)?;
    let found = join_all(names.iter().map(|name| one(paths, name))).await;
    found.into_iter().filter_map(Result::transpose).collect()
}

async fn one(paths: &Paths, name: &str) -> Result<Option<ClusterStatus>, ClientError> {
    if let Some(client) = Client::connect(paths, name).await {
        return client.status().await;
    }
    if lives(paths, name).await? {
        return Client::start(paths, name).await?.status().await;
    }
    Ok(Record::load(paths, name)
        .map_err(ClientError::Engine)?
        .as_ref()
        .map(status::of_record))
}

/// Does the cluster have a living sandbox? When not, what its sandbox left is swept.
pub(crate) async fn lives(paths: &Paths, name: &str) -> Result<bool, ClientError> {
    let spec = sandbox_spec(paths, name);
    let maker = NamespaceMaker;
    let lives = maker
        .find(&spec)
        .await
        .map_err(|error| ClientError::Engine(error.into()))?
        .is_some();
    if !lives && let Ok(Some(_owner)) = Owner::try_take(paths, name) {
        maker
            .sweep(&spec)
            .await
            .map_err(|error| ClientError::Engine(error.into()))?;
        let _ = std::fs::remove_dir_all(paths.run_dir(name));
        let _ = std::fs::remove_dir(&paths.run);
    }
    Ok(lives)
}
