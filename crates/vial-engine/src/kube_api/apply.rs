//! Server-side apply of a YAML stream.

use std::time::Duration;

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::discovery::{ApiCapabilities, ApiResource, Discovery, Scope};
use serde_json::Value;

use crate::{Error, Result};

/// Who owns the fields that vial sets.
const MANAGER: &str = "vial";

/// How long an object may wait for what it needs (its namespace, its definition, a webhook) to appear.
const PATIENCE: Duration = Duration::from_secs(30);

/// Applies every document of a YAML stream, in order. An object whose kind or namespace is only about to exist is
/// tried again for 30 s.
///
/// # Errors
/// When a document is not an object of Kubernetes, or the API refuses it.
pub async fn apply(client: &kube::Client, name: &str, yaml: &str) -> Result<()> {
    let mut discovery = discover(client).await?;
    for object in parse(name, yaml)? {
        let gone_wrong = tokio::time::Instant::now() + PATIENCE;
        // The API tells nobody when a missing kind or namespace appears; asking again is all one can do.
        let mut pause = Duration::from_millis(20);
        loop {
            match apply_one(client, &discovery, name, &object).await {
                Ok(()) => break,
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Missing(error)) if tokio::time::Instant::now() > gone_wrong => {
                    return Err(error);
                }
                Err(Failure::Missing(_)) => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(1));
                    discovery = discover(client).await?;
                }
            }
        }
    }
    Ok(())
}

/// The objects of a YAML stream; a `List` counts as its items, an empty document as nothing.
fn parse(name: &str, yaml: &str) -> Result<Vec<DynamicObject>> {
    let refuse = |reason: String| Error::Manifest {
        name: name.to_owned(),
        reason,
    };
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(yaml).map_err(|error| refuse(error.to_string()))?;
    let mut objects = Vec::new();
    for document in documents {
        let items = match document.get("items") {
            Some(Value::Array(items))
                if document["kind"]
                    .as_str()
                    .is_some_and(|kind| kind.ends_with("List")) =>
            {
                items.clone()
            }
            _ if document.is_null() => continue,
            _ => vec![document],
        };
        for item in items {
            let object: DynamicObject =
                serde_json::from_value(item).map_err(|error| refuse(error.to_string()))?;
            if object.types.is_none() {
                return Err(refuse("a document has no apiVersion or no kind".into()));
            }
            if object.metadata.name.is_none() {
                return Err(refuse("an object has no metadata.name".into()));
            }
            objects.push(object);
        }
    }
    Ok(objects)
}

async fn discover(client: &kube::Client) -> Result<Discovery> {
    Discovery::new(client.clone())
        .run_aggregated()
        .await
        .map_err(Error::kube("cannot ask the API for its kinds"))
}

enum Failure {
    /// Something it needs is not there (yet).
    Missing(Error),
    Final(Error),
}

async fn apply_one(
    client: &kube::Client,
    discovery: &Discovery,
    manifest: &str,
    object: &DynamicObject,
) -> std::result::Result<(), Failure> {
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let Some((resource, capabilities)) = discovery.resolve_object(object) else {
        let kind = object
            .types
            .as_ref()
            .map(|types| format!("{} {}", types.api_version, types.kind))
            .unwrap_or_default();
        return Err(Failure::Missing(Error::Manifest {
            name: manifest.to_owned(),
            reason: format!("the cluster has no kind {kind} (of object {name})"),
        }));
    };
    let what = format!("cannot apply {} {name} ({manifest})", resource.kind);
    let api = api_for(client, &resource, &capabilities, object);
    match api
        .patch(
            name,
            &PatchParams::apply(MANAGER).force(),
            &Patch::Apply(object),
        )
        .await
    {
        Ok(_) => Ok(()),
        Err(error) if may_pass(&error) => Err(Failure::Missing(Error::kube(what)(error))),
        Err(error) => Err(Failure::Final(Error::kube(what)(error))),
    }
}

fn api_for(
    client: &kube::Client,
    resource: &ApiResource,
    capabilities: &ApiCapabilities,
    object: &DynamicObject,
) -> Api<DynamicObject> {
    match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), resource),
        Scope::Namespaced => {
            let namespace = object.metadata.namespace.as_deref().unwrap_or("default");
            Api::namespaced_with(client.clone(), namespace, resource)
        }
    }
}

/// A missing namespace or kind, a webhook that does not answer yet, an API that starts.
fn may_pass(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 404 | 429 | 500 | 503),
        kube::Error::HyperError(_) | kube::Error::Service(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_split_lists_are_opened_and_empty_documents_are_skipped() {
        let yaml = "---\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: b}}\n";
        let names: Vec<_> = parse("m", yaml)
            .expect("valid")
            .into_iter()
            .filter_map(|object| object.metadata.name)
            .collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn what_is_no_object_is_refused_by_name() {
        for yaml in [
            "kind: X\nmetadata: {name: a}\n",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {}\n",
            "a: [\n",
            "- 1\n",
        ] {
            let error = parse("app.yaml", yaml).expect_err("refused").to_string();
            assert!(error.starts_with("manifest app.yaml: "), "{error}");
        }
    }
}
