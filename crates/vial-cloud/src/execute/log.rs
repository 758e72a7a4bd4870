//! The last words of a pod that cannot start: what its programs wrote.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, LogParams};

use crate::cloud::Cloud;
use crate::words;

/// How many lines are enough to see what is the matter.
const LINES: i64 = 5;

/// What the pod's containers wrote last, those that come first first; nothing when they wrote nothing or it cannot be
/// read.
pub async fn last_words(cloud: &Cloud, namespace: &str, name: &str) -> Vec<String> {
    let pods: Api<Pod> = Api::namespaced(cloud.client().clone(), namespace);
    let params = ListParams::default().labels(&format!("{}={name}", words::POD));
    let Ok(listed) = pods.list(&params).await else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    for pod in listed {
        for container in [words::INSTALLER, words::CONTAINER] {
            for previous in [true, false] {
                let params = LogParams {
                    container: Some(container.into()),
                    previous,
                    tail_lines: Some(LINES),
                    ..LogParams::default()
                };
                if let Ok(text) = pods.logs(&pod.name_any(), &params).await
                    && !text.trim().is_empty()
                {
                    lines.extend(text.lines().map(|line| format!("{container}: {line}")));
                    break;
                }
            }
        }
    }
    lines
}
