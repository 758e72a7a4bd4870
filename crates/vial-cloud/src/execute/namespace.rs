//! The namespace that pods are made in.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::Api;
use kube::runtime::wait::{await_condition, conditions};
use serde_json::json;

use super::apply;
use crate::cloud::Cloud;
use crate::error::{Error, Kind, Result};
use crate::words;

/// How long a namespace of before may take to go.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sees to it that the namespace is there; whether it was made now. vial's own is made on demand; every other one too,
/// when `create` says so.
///
/// # Errors
/// When it is not there and may not be made, or is on its way out.
pub async fn ensure(cloud: &Cloud, name: &str, create: bool) -> Result<bool> {
    let namespaces: Api<Namespace> = Api::all(cloud.client().clone());
    let found = match namespaces.get_opt(name).await {
        Ok(found) => found,
        // Who may not read namespaces may still have one.
        Err(kube::Error::Api(status)) if status.code == 403 => return Ok(false),
        Err(error) => {
            return Err(Error::of_api(
                format!("cannot look for namespace {name}"),
                error,
            ));
        }
    };
    let ending = |namespace: &Namespace| namespace.metadata.deletion_timestamp.is_some();
    let found = match found {
        Some(namespace) if ending(&namespace) => {
            let uid = namespace.metadata.uid.unwrap_or_default();
            let gone = await_condition(namespaces, name, conditions::is_deleted(&uid));
            if tokio::time::timeout(PATIENCE, gone).await.is_err() {
                let message = format!("namespace {name} is just being removed");
                return Err(Error::new(Kind::Conflict, message).hinted("try again when it is gone"));
            }
            None
        }
        found => found,
    };
    match found {
        Some(_) => Ok(false),
        None if create => {
            let labels = json!({words::MANAGED_BY: words::MANAGER});
            let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
            apply(cloud, object).await?;
            Ok(true)
        }
        None => {
            let message = format!("there is no namespace {name}");
            let hint = format!("`kubectl create namespace {name}` makes it");
            Err(Error::new(Kind::NotFound, message).hinted(hint))
        }
    }
}
