//! What becomes of nodes, as the API tells it: their condition Ready.

use std::sync::Arc;

use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::runtime::{WatchStreamExt as _, watcher};

use super::{About, Book, What};
use crate::steadily::{SOON, Steadily};

/// Watches all Node objects until the task is dropped.
pub(crate) async fn serve(client: kube::Client, book: Arc<Book>) {
    let nodes: Api<Node> = Api::all(client);
    let events = watcher(nodes, watcher::Config::default()).backoff(Steadily(SOON));
    let mut events = std::pin::pin!(events.applied_objects());
    while let Some(node) = events.next().await {
        // Else the API does not answer, which is nothing about nodes.
        if let Ok(node) = node {
            tell(&book, &node);
        }
    }
}

fn tell(book: &Book, node: &Node) {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let conditions = node.status.iter().flat_map(|status| &status.conditions);
    let Some(ready) = conditions.flatten().find(|one| one.type_ == "Ready") else {
        return;
    };
    let since = ready.last_transition_time.as_ref();
    let since = since.map_or_else(Timestamp::now, |time| time.0);
    let why = ready.message.clone().unwrap_or_default();
    let (kind, message) = match ready.status.as_str() {
        "True" => (What::NodeReady, format!("node {name} is Ready")),
        _ if why.is_empty() => (What::NodeNotReady, format!("node {name} is not Ready")),
        _ => (
            What::NodeNotReady,
            format!("node {name} is not Ready: {why}"),
        ),
    };
    book.tell_state(since, kind, About::node(name), message);
}
