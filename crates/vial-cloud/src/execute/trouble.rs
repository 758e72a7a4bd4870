//! Why a pod does not come: told by its Pod and its Deployment; pure.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use crate::error::{Error, Kind};
use crate::words;

/// What stands in the way.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It will not come by itself.
    Fatal(Error),
    /// It may come by itself, but mostly does not.
    Grave(Error),
    /// The image has no entry point, or one that ends at once: the ssh server has to be alone.
    NoEntry(String),
}

/// What the Deployment says: its Pod cannot be made.
pub(super) fn of_deployment(name: &str, deployment: &Deployment) -> Option<Trouble> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let refused = conditions
        .iter()
        .find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True")?;
    let message = refused.message.clone().unwrap_or_default();
    let error = |kind| Error::new(kind, format!("pod {name} is refused: {message}"));
    if message.contains("violates PodSecurity") {
        let hint = match message.contains("\"restricted") {
            true => {
                "the namespace enforces Pod Security `restricted`: `--non-root` fits it; or choose another namespace with -n"
            }
            false => {
                "the namespace enforces Pod Security `baseline`: leave out --privileged, --host-network, --cap-add and paths of the node, or choose another namespace with -n"
            }
        };
        return Some(Trouble::Fatal(error(Kind::NotPermitted).hinted(hint)));
    }
    if message.contains("exceeded quota") {
        let hint = "the namespace's quota is used up: `kubectl describe quota` shows it";
        return Some(Trouble::Fatal(error(Kind::NotPermitted).hinted(hint)));
    }
    Some(Trouble::Grave(error(Kind::NotPermitted)))
}

/// What the Pod says.
pub(super) fn of_pod(name: &str, image: &str, pod: &Pod) -> Option<Trouble> {
    let status = pod.status.as_ref()?;
    let mut conditions = status.conditions.iter().flatten();
    if let Some(unscheduled) = conditions
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
    {
        let why = unscheduled.message.clone().unwrap_or_default();
        let error = Error::new(Kind::Failed, format!("no node takes pod {name}: {why}"))
            .hinted("ask for less (--cpu, --memory), or for another node (--on, --node-selector)");
        return Some(Trouble::Grave(error));
    }
    if status.phase.as_deref() == Some("Failed") && status.reason.is_some() {
        let why = status
            .message
            .clone()
            .or(status.reason.clone())
            .unwrap_or_default();
        let error = Error::new(Kind::Failed, format!("pod {name} failed: {why}"));
        return Some(Trouble::Fatal(error));
    }
    let mut containers = status
        .init_container_statuses
        .iter()
        .chain(&status.container_statuses)
        .flatten();
    containers.find_map(|container| of_container(name, image, container))
}

fn of_container(name: &str, image: &str, container: &ContainerStatus) -> Option<Trouble> {
    let state = container.state.as_ref()?;
    let main = container.name == words::CONTAINER;
    if let Some(ended) = state
        .terminated
        .as_ref()
        .or_else(|| container.last_state.as_ref()?.terminated.as_ref())
    {
        let why = ended.message.clone().unwrap_or_default();
        let reason = ended.reason.clone().unwrap_or_default();
        if ["StartError", "ContainerCannotRun"].contains(&reason.as_str()) {
            return Some(cannot_start(name, image, main, &why));
        }
        match (main, ended.exit_code) {
            (true, 0) => {
                return Some(Trouble::NoEntry(
                    "its own entry point ended (exit code 0)".into(),
                ));
            }
            (false, 0) => {}
            (false, code) => {
                let error = Error::new(Kind::Failed, format!("the ssh server cannot be put into pod {name}: its installer ended with {code}"))
                    .hinted(NO_SHELL);
                return Some(Trouble::Fatal(error));
            }
            (true, code) if container.restart_count > 0 => {
                let error = Error::new(
                    Kind::Failed,
                    format!("what runs in pod {name} ends with exit code {code}"),
                )
                .hinted(OTHERWISE);
                return Some(Trouble::Fatal(error));
            }
            (true, _) => {}
        }
    }
    let waiting = state.waiting.as_ref()?;
    let reason = waiting.reason.as_deref().unwrap_or_default();
    let message = waiting.message.clone().unwrap_or_default();
    match reason {
        "PodInitializing" | "ContainerCreating" => None,
        "ErrImagePull"
        | "ImagePullBackOff"
        | "ErrImageNeverPull"
        | "InvalidImageName"
        | "RegistryUnavailable" => {
            let image = if main {
                image
            } else {
                container.image.as_str()
            };
            let error = Error::new(Kind::Failed, format!("image {image} of pod {name} cannot be had: {}", short(&message)))
                .hinted("check the name; on a vial cluster `vial image load` brings images of this machine and `vial image ls` shows what is there");
            Some(Trouble::Fatal(error))
        }
        "CreateContainerError" | "RunContainerError" | "CreateContainerConfigError" => {
            if message.contains("no command specified") {
                return Some(Trouble::NoEntry("the image has no entry point".into()));
            }
            // A Secret or ConfigMap may be just on its way.
            if reason == "CreateContainerConfigError" {
                let error = Error::new(
                    Kind::Failed,
                    format!("pod {name} cannot be made: {message}"),
                );
                return Some(Trouble::Grave(error));
            }
            Some(cannot_start(name, image, main, &message))
        }
        "CrashLoopBackOff" => {
            let error = Error::new(
                Kind::Failed,
                format!("what runs in pod {name} ends again and again"),
            )
            .hinted(OTHERWISE);
            Some(Trouble::Fatal(error))
        }
        "PostStartHookError" => {
            let error = Error::new(
                Kind::Failed,
                format!(
                    "the ssh server cannot start in pod {name}: {}",
                    short(&message)
                ),
            );
            Some(Trouble::Fatal(error))
        }
        other => {
            let error = Error::new(
                Kind::Failed,
                format!("pod {name} does not start: {other}: {}", short(&message)),
            );
            Some(Trouble::Grave(error))
        }
    }
}

const OTHERWISE: &str = "`--no-entry` runs the ssh server alone, `--command` something else";
const NO_SHELL: &str = "without an image for the ssh server the pod's own image has to have sh, cat and gzip: name one with --sshd IMAGE (`vial image sshd -o FILE` makes it)";

fn cannot_start(name: &str, image: &str, main: bool, why: &str) -> Trouble {
    let error = match main {
        true => Error::new(
            Kind::Failed,
            format!("pod {name} cannot start: {}", short(why)),
        )
        .hinted("`--command` runs something else, `--no-entry` the ssh server alone"),
        false => Error::new(
            Kind::Failed,
            format!(
                "the ssh server cannot be put into pod {name} by image {image} itself: {}",
                short(why)
            ),
        )
        .hinted(NO_SHELL),
    };
    Trouble::Fatal(error)
}

/// The heart of what a runtime says: its last parts, in one line.
fn short(message: &str) -> String {
    let line = message.replace('\n', " ");
    let parts: Vec<&str> = line.split(": ").collect();
    match parts.len() {
        0..=4 => line,
        count => parts[count - 4..].join(": "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(status: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "a-1"}, "status": status})).unwrap()
    }

    fn container(name: &str, state: serde_json::Value) -> serde_json::Value {
        json!({"name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state})
    }

    fn told(status: serde_json::Value) -> String {
        match of_pod("a", "debian", &pod(status)) {
            Some(Trouble::Fatal(error)) => format!("fatal {error}"),
            Some(Trouble::Grave(error)) => format!("grave {error}"),
            Some(Trouble::NoEntry(why)) => format!("no entry {why}"),
            None => "none".into(),
        }
    }

    #[test]
    fn an_image_that_cannot_be_had_is_fatal() {
        let waits = json!({"waiting": {"reason": "ErrImagePull", "message": "failed to pull: a: b: c: not found"}});
        let told = told(json!({"containerStatuses": [container("box", waits)]}));
        assert!(
            told.starts_with("fatal image debian of pod a cannot be had"),
            "{told}"
        );
        assert!(told.ends_with("not found"), "{told}");
    }

    #[test]
    fn an_entry_point_that_ended_well_leaves_the_server_alone() {
        let ended = json!({"terminated": {"exitCode": 0, "reason": "Completed"}});
        let told = told(json!({"containerStatuses": [container("box", ended)]}));
        assert!(told.starts_with("no entry"), "{told}");
    }

    #[test]
    fn a_pod_on_its_way_is_no_trouble() {
        let waits = json!({"waiting": {"reason": "PodInitializing"}});
        let done = json!({"terminated": {"exitCode": 0, "reason": "Completed"}});
        let status = json!({"initContainerStatuses": [container("vial-sshd", done)], "containerStatuses": [container("box", waits)]});
        assert_eq!(told(status), "none");
    }

    #[test]
    fn security_says_what_to_do() {
        let deployment: Deployment = serde_json::from_value(json!({"metadata": {}, "status": {"conditions": [
            {"type": "ReplicaFailure", "status": "True", "message": "pods \"a\" is forbidden: violates PodSecurity \"restricted:latest\": x"}]}}))
        .unwrap();
        let Some(Trouble::Fatal(error)) = of_deployment("a", &deployment) else {
            panic!()
        };
        assert_eq!(error.kind(), Kind::NotPermitted);
        assert!(error.hint().unwrap().contains("--non-root"));
    }
}
