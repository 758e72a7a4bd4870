//! The objects of the API, except what Secrets hold; and from them, what is secret elsewhere.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::Value;
use vial_engine::record::Record;
use vial_keeper::inside::{Detail, Inside, InsideError};

use super::{Tray, Wrote, late};
use crate::context::Context;
use crate::diagnose::{Clues, Known};
use crate::error::chain;

/// For each request; the API may hang.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of each kind at most so many objects.
const MOST: usize = 2_000;
/// Kinds that are others' objects once more.
const TWICE: &[&str] = &["/apis/events.k8s.io/v1/events", "/api/v1/componentstatuses"];
const SECRETS: &str = "/api/v1/secrets";

/// Gathers `kubernetes/`; what Secrets and Pods hold that nobody shall see is added to the clues.
pub(in crate::diagnose) async fn gather(
    context: &Context,
    record: Option<&Record>,
    tray: &Tray,
    clues: &mut Clues,
) {
    let nothing = |why: String| tray.nothing("kubernetes/", "objects of the API", why);
    let Some(record) = record else {
        return nothing("the cluster's record cannot be read".to_owned());
    };
    let api = match Inside::find(&context.paths, record).await {
        Ok(api) => api,
        Err(error) => return nothing(chain(&error)),
    };
    let version = soon(api.get("/version", Detail::Whole)).await;
    let answers = version.is_ok();
    tray.json(
        "kubernetes/version.json",
        "what the API server is",
        version.map_err(Late),
    );
    if !answers {
        return;
    }
    if let Ok(secrets) = soon(api.list(SECRETS, Detail::Whole, MOST)).await {
        for secret in items(&secrets) {
            if let Some(data) = secret["data"].as_object() {
                clues.known.add_secret(data);
            }
        }
    }
    let names = soon(api.list(SECRETS, Detail::Metadata, MOST)).await;
    let names = names.map(|list| items(&list).map(name).collect::<String>());
    tray.text(
        "kubernetes/secrets.txt",
        "names of Secrets",
        names.map_err(Late),
    );

    let kinds = match soon(api.kinds()).await {
        Ok((kinds, failed)) => {
            for error in failed {
                nothing(chain(&error));
            }
            kinds
        }
        Err(why) => return nothing(why),
    };
    for kind in kinds
        .iter()
        .filter(|kind| *kind != SECRETS && !TWICE.contains(&kind.as_str()))
    {
        let file = file(kind);
        let what = format!("all {}", kind.rsplit('/').next().unwrap_or(kind));
        match soon(api.list(kind, Detail::Whole, MOST)).await {
            Ok(list) => {
                if kind == "/api/v1/pods" {
                    look_at_pods(&list, clues);
                }
                if items(&list).next().is_some() {
                    tray.add(file, &what, Wrote::Yaml(list));
                }
            }
            Err(why) => tray.nothing(file, &what, why),
        }
    }
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Late(String);

async fn soon<T>(asked: impl Future<Output = Result<T, InsideError>>) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answer) => answer.map_err(|error| chain(&error)),
        Err(_) => Err(late(PATIENCE)),
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list["items"].as_array().into_iter().flatten()
}

fn name(object: &Value) -> String {
    let of = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    format!(
        "{}/{}  {}\n",
        of("namespace"),
        of("name"),
        of("creationTimestamp")
    )
}

/// `/apis/apps/v1/deployments` lies in `kubernetes/deployments.apps.yaml`.
fn file(kind: &str) -> String {
    let parts: Vec<&str> = kind.trim_start_matches('/').split('/').collect();
    match parts.as_slice() {
        ["apis", group, _, name] => format!("kubernetes/{name}.{group}.yaml"),
        [.., name] => format!("kubernetes/{name}.yaml"),
        [] => "kubernetes/unknown.yaml".to_owned(),
    }
}

/// Which pods' logs are wanted: those of the system, and of those that do not do well. And what they are given by value.
fn look_at_pods(list: &Value, clues: &mut Clues) {
    let mut wanted = HashSet::new();
    for pod in items(list) {
        if (pod["metadata"]["namespace"] == "kube-system" || !does_well(pod))
            && let Some(uid) = pod["metadata"]["uid"].as_str()
        {
            wanted.insert(uid.to_owned());
        }
        for kind in ["containers", "initContainers"] {
            let containers = pod["spec"][kind].as_array().into_iter().flatten();
            for variable in containers.flat_map(|one| one["env"].as_array().into_iter().flatten()) {
                learn(variable, &mut clues.known);
            }
        }
    }
    clues.pods = Some(wanted);
}

/// A variable's value is looked for elsewhere when its name says that it is secret.
fn learn(variable: &Value, known: &mut Known) {
    let name = variable["name"]
        .as_str()
        .unwrap_or_default()
        .to_ascii_uppercase();
    let loud = ["PASS", "TOKEN", "SECRET", "KEY", "CRED", "AUTH", "PWD"];
    if loud.iter().any(|word| name.contains(word))
        && let Some(value) = variable["value"].as_str()
    {
        known.add(value);
    }
}

fn does_well(pod: &Value) -> bool {
    let status = &pod["status"];
    let mut containers = status["containerStatuses"].as_array().into_iter().flatten();
    match status["phase"].as_str() {
        Some("Succeeded") => true,
        Some("Running") => containers.all(|one| one["ready"] == true && one["restartCount"] == 0),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kinds_have_files_of_their_own() {
        assert_eq!(file("/api/v1/pods"), "kubernetes/pods.yaml");
        assert_eq!(
            file("/apis/apps/v1/deployments"),
            "kubernetes/deployments.apps.yaml"
        );
    }

    #[test]
    fn logs_are_wanted_of_pods_that_do_not_do_well() {
        let pod = |uid: &str, namespace: &str, phase: &str, restarts: u32| {
            json!({
                "metadata": {"uid": uid, "namespace": namespace},
                "status": {"phase": phase, "containerStatuses": [{"ready": true, "restartCount": restarts}]},
            })
        };
        let list = json!({"items": [
            pod("system", "kube-system", "Running", 0),
            pod("well", "default", "Running", 0),
            pod("done", "default", "Succeeded", 0),
            pod("again", "default", "Running", 3),
            pod("waits", "default", "Pending", 0),
        ]});
        let mut clues = Clues::default();
        look_at_pods(&list, &mut clues);
        let mut wanted: Vec<String> = clues.pods.unwrap().into_iter().collect();
        wanted.sort();
        assert_eq!(wanted, ["again", "system", "waits"]);
    }
}
