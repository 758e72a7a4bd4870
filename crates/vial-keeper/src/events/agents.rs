//! What becomes of components, as the agents of all nodes tell it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use vial_rpc::agent_client::AgentClient;
use vial_rpc::component_status::State;
use vial_rpc::{ComponentStatus, Status, WatchComponentsRequest};
use vial_sandbox::Sandbox;
use vial_spec::ClusterSpec;

use super::{About, Book, What};

/// Before an agent that does not answer is asked again: it is not started yet, or has ended.
const PAUSE: Duration = Duration::from_secs(1);

/// Watches the agents of all nodes that are wanted, until the task is dropped.
pub(crate) async fn serve(
    sandbox: Arc<dyn Sandbox>,
    mut wanted: watch::Receiver<Arc<ClusterSpec>>,
    book: Arc<Book>,
) {
    let mut watched: HashMap<String, AbortOnDropHandle<()>> = HashMap::new();
    loop {
        let spec = Arc::clone(&wanted.borrow_and_update());
        let containers: HashMap<String, String> = containers(&spec).collect();
        watched.retain(|container, _| containers.contains_key(container));
        for (container, node) in containers {
            watched.entry(container.clone()).or_insert_with(|| {
                let watching = agent(Arc::clone(&sandbox), container, node, Arc::clone(&book));
                AbortOnDropHandle::new(tokio::spawn(watching))
            });
        }
        if wanted.changed().await.is_err() {
            return;
        }
    }
}

/// Each container with its node.
fn containers(spec: &ClusterSpec) -> impl Iterator<Item = (String, String)> {
    spec.nodes.iter().flat_map(|node| {
        let containers = node.containers().into_iter();
        containers.map(|container| (container, node.name.clone()))
    })
}

async fn agent(sandbox: Arc<dyn Sandbox>, container: String, node: String, book: Arc<Book>) {
    loop {
        if let Ok(channel) = sandbox.agent(&container).await {
            let mut agent = AgentClient::new(channel);
            // It ends with the agent, which is told of where containers are watched.
            let _: Result<(), Status> = async {
                let statuses = agent.watch_components(WatchComponentsRequest {}).await?;
                let mut statuses = statuses.into_inner();
                while let Some(status) = statuses.message().await? {
                    tell(&book, &node, &status);
                }
                Ok(())
            }
            .await;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn tell(book: &Book, node: &str, status: &ComponentStatus) {
    let Some((kind, message)) = news(status) else {
        return;
    };
    let since = i64::try_from(status.since_unix_ms).ok();
    let since = since.and_then(|millis| Timestamp::from_millisecond(millis).ok());
    let about = About::component(node, &status.name);
    book.tell_state(since.unwrap_or_else(Timestamp::now), kind, about, message);
}

/// What a state means to a person; nothing where it is only on its way to another one.
fn news(status: &ComponentStatus) -> Option<(What, String)> {
    let name = &status.name;
    match status.state() {
        State::Ready if status.restarts > 0 => {
            let again = format!("{name} is ready again (restarts: {})", status.restarts);
            Some((What::ComponentReady, again))
        }
        State::Ready => Some((What::ComponentReady, format!("{name} is ready"))),
        State::Backoff => Some((What::ComponentCrashed, format!("{name} {}", status.message))),
        State::Stopped => Some((What::ComponentStopped, format!("{name} was stopped"))),
        State::Waiting | State::Starting | State::Stopping => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: State, restarts: u32, message: &str) -> ComponentStatus {
        ComponentStatus {
            name: "kubelet".into(),
            state: state.into(),
            restarts,
            message: message.into(),
            ..ComponentStatus::default()
        }
    }

    #[test]
    fn only_where_a_component_arrives_is_news() {
        let told = |status| news(&status).map(|(_, message)| message);
        assert_eq!(
            told(status(State::Ready, 0, "")).as_deref(),
            Some("kubelet is ready")
        );
        assert_eq!(
            told(status(State::Ready, 2, "")).as_deref(),
            Some("kubelet is ready again (restarts: 2)")
        );
        let crashed = told(status(
            State::Backoff,
            2,
            "exited with code 1; starts again in 100ms",
        ));
        assert_eq!(
            crashed.as_deref(),
            Some("kubelet exited with code 1; starts again in 100ms")
        );
        for state in [State::Waiting, State::Starting, State::Stopping] {
            assert_eq!(told(status(state, 0, "")), None);
        }
    }
}
