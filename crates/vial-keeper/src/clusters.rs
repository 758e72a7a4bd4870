//! All clusters of a machine, whatever state they are in.

use futures::future::join_all;
use vial_engine::execute::sandbox_spec;
use vial_engine::paths::Paths;
use vial_engine::record::{self, Record};
use vial_sandbox::{AnyMaker, Maker as _};

use crate::api::{ClusterStatus, Phase};
use crate::client::{self, Client, ClientError};
use crate::failure::chain;
use crate::lock::try_own;
use crate::status;

/// The state of every cluster, by name. Keepers that died are started again, and what ended sandboxes left is swept.
///
/// A cluster that cannot be looked at is listed with the reason: whoever cleans up must find it.
///
/// # Errors
/// When the clusters' directory cannot be read.
pub async fn clusters(paths: &Paths) -> Result<Vec<ClusterStatus>, ClientError> {
    let names = record::names(paths).map_err(ClientError::Engine)?;
    let found = join_all(names.iter().map(|name| one(paths, name))).await;
    Ok(found.into_iter().flatten().collect())
}

/// `None` when it went away meanwhile.
async fn one(paths: &Paths, name: &str) -> Option<ClusterStatus> {
    match look(paths, name).await {
        Ok(Some(status)) => Some(status),
        Ok(None) if !paths.cluster_dir(name).is_dir() => None,
        Ok(None) => {
            let why = match Record::load(paths, name) {
                Err(error) => chain(&error),
                Ok(_) => "its record is missing".to_owned(),
            };
            Some(status::of_name(name, Phase::Damaged, why))
        }
        Err(error) => {
            let mut status = match Record::load(paths, name) {
                Ok(Some(record)) => status::of_record(paths, &record),
                _ => status::of_name(name, Phase::Unknown, String::new()),
            };
            status.phase = Phase::Unknown;
            status.message = Some(chain(&error));
            if let ClientError::Silent { pid, .. } = error {
                status.keeper_pid = pid;
            }
            Some(status)
        }
    }
}

/// `None` when there is no record, or none that can be read.
async fn look(paths: &Paths, name: &str) -> Result<Option<ClusterStatus>, ClientError> {
    if let Some(client) = Client::connect(paths, name).await {
        match client.status().await {
            // It was ending when it was found.
            Err(ClientError::Talk { .. }) => {}
            answered => return answered,
        }
    }
    client::elsewhere(paths, name)?;
    if lives(paths, name).await? {
        return Client::start(paths, name).await?.status().await;
    }
    let record = Record::load(paths, name).ok().flatten();
    Ok(record
        .as_ref()
        .map(|record| status::of_record(paths, record)))
}

/// Does the cluster have a living sandbox? When not, what its sandbox left is swept.
pub(crate) async fn lives(paths: &Paths, name: &str) -> Result<bool, ClientError> {
    let spec = sandbox_spec(paths, name);
    let maker = AnyMaker;
    let lives = maker
        .find(&spec)
        .await
        .map_err(|error| ClientError::Engine(error.into()))?
        .is_some();
    if !lives && let Ok(Some(_owner)) = try_own(paths, name) {
        maker
            .sweep(&spec)
            .await
            .map_err(|error| ClientError::Engine(error.into()))?;
        let _ = std::fs::remove_dir_all(paths.run_dir(name));
        let _ = std::fs::remove_dir(&paths.run);
    }
    Ok(lives)
}
