//! Connections to a port of a pod through the API: they work wherever kubectl works.
//!
//! ```text
//! find ─► ready Pod ─► dial: WebSocket `…/pods/POD/portforward?ports=N` ─► pass: bytes both ways until the pod ends it
//! ```
//! Each message begins with its channel: 0 is data, 1 an error; the first one of a channel repeats the port
//! (`k8s.io/kubelet/pkg/cri/streaming/portforward/websocket.go`). The protocol has no word for "I have said all": the end of
//! what we send is not passed on, and the pod goes on being heard until it ends the connection itself.

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{Api, ListParams};
use kube::core::Request;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Resource as _, ResourceExt as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::cloud::Cloud;
use crate::error::{Error, Kind, Result};
use crate::pods::{PodView, is_ready};
use crate::words;

/// How long a pod that starts or is restarted is worth waiting for.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Of what is sent at once.
const BUFFER: usize = 64 * 1024;
/// What came in and is not written yet, in messages.
const WAITING: usize = 16;

const DATA: u8 = 0;
const ERROR: u8 = 1;

/// A port of a pod, as a person names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Port {
    /// By its number.
    Number(u16),
    /// By the name that a container gives it.
    Name(String),
}

impl Port {
    /// Its number in this Pod.
    fn of(&self, pod: &Pod) -> Option<u16> {
        let name = match self {
            Self::Number(number) => return Some(*number),
            Self::Name(name) => name,
        };
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
        let found = ports.find(|port| port.name.as_ref() == Some(name));
        match found {
            Some(port) => u16::try_from(port.container_port).ok(),
            None => (name == words::SSH_PORT).then_some(22),
        }
    }
}

impl std::str::FromStr for Port {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        match text.parse::<u16>() {
            Ok(number) if number > 0 => Ok(Self::Number(number)),
            Err(_)
                if text.bytes().any(|byte| byte.is_ascii_lowercase()) && text.bytes().all(name) =>
            {
                Ok(Self::Name(text.to_owned()))
            }
            _ => Err(Error::new(
                Kind::BadInput,
                format!("`{text}` is neither the number nor the name of a port"),
            )),
        }
    }
}

/// The Pod of this name that one can connect to; a pod that starts, or is restarted, is waited for.
///
/// # Errors
/// When there is no such pod, or it is not ready in time.
pub async fn ready(cloud: &Cloud, namespace: &str, name: &str, patience: Duration) -> Result<Pod> {
    let pods: Api<Pod> = Api::namespaced(cloud.client().clone(), namespace);
    let labels = format!(
        "{}={},{}={name}",
        words::MANAGED_BY,
        words::MANAGER,
        words::POD
    );
    let cannot = format!("cannot look for the pod {namespace}/{name}");
    let listed = pods.list(&ListParams::default().labels(&labels)).await;
    let listed = listed.map_err(Error::api(cannot.clone()))?.items;
    if let Some(pod) = listed.iter().find(|pod| is_ready(pod)) {
        return Ok(pod.clone());
    }
    let services: Api<Service> = Api::namespaced(cloud.client().clone(), namespace);
    let service = services.get_opt(name).await.map_err(Error::api(cannot))?;
    let Some(service) = service else {
        let what = format!("there is no pod `{name}` in namespace {namespace}");
        return Err(Error::new(Kind::NotFound, what).hinted("`vial pod ls -A` lists all pods"));
    };
    let mut seen = listed;
    let config = watcher::Config::default().labels(&labels);
    let mut events = std::pin::pin!(watcher(pods, config));
    let waiting = async {
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Apply(pod) | Event::InitApply(pod)) => {
                    if is_ready(&pod) {
                        return Some(pod);
                    }
                    seen.retain(|other| other.name_any() != pod.name_any());
                    seen.push(pod);
                }
                Ok(Event::Delete(pod)) => seen.retain(|other| other.name_any() != pod.name_any()),
                Ok(Event::Init | Event::InitDone) => {}
                // The watch asks again; not more often than this.
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
        None
    };
    if let Ok(Some(pod)) = tokio::time::timeout(patience, waiting).await {
        return Ok(pod);
    }
    let status = PodView::of(&service, None, &seen).status;
    let what = format!(
        "the pod {namespace}/{name} is not ready after {} s: {status}",
        patience.as_secs()
    );
    Err(Error::new(Kind::TimedOut, what).hinted(format!(
        "`vial pod describe -n {namespace} {name}` tells what happened to it"
    )))
}

/// A connection to a port of a Pod.
pub struct Stream<S> {
    socket: WebSocketStream<S>,
    what: String,
}

/// Connects to a port of a Pod; whether anybody listens there tells [`Stream::pass`].
///
/// # Errors
/// When the Pod has no port of that name, or the API refuses.
pub async fn dial(
    cloud: &Cloud,
    pod: &Pod,
    port: &Port,
) -> Result<Stream<impl AsyncRead + AsyncWrite + Unpin + Send + use<>>> {
    let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
    let Some(number) = port.of(pod) else {
        let what = format!("the pod {namespace}/{name} has no port of that name");
        return Err(Error::new(Kind::NotFound, what).hinted("name it by its number"));
    };
    let what = format!("port {number} of the pod {namespace}/{name}");
    let request = Request::new(Pod::url_path(&(), Some(&namespace)));
    let request = request.portforward(&name, &[number]);
    let request = request.map_err(|error| {
        Error::new(Kind::Failed, format!("cannot ask for {what}")).caused(error)
    })?;
    let connection = cloud.client().connect(request).await;
    let connection = connection.map_err(Error::api(format!("cannot connect to {what}")))?;
    Ok(Stream {
        socket: connection.into_stream(),
        what,
    })
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream<S> {
    /// Passes bytes both ways until the pod ends the connection, or nobody takes what it sends. The end of `from` is not
    /// passed on; `after` it the connection is ended when the pod says nothing for so long, if it is given.
    ///
    /// # Errors
    /// When nobody listens at that port, or the connection breaks.
    pub async fn pass(
        self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        after: Option<Duration>,
    ) -> Result<()> {
        let what = self.what;
        let (mut sending, mut receiving) = self.socket.split();
        let (ended, mut is_ended) = tokio::sync::watch::channel(false);
        let send = async {
            loop {
                let mut buffer = Vec::with_capacity(BUFFER + 1);
                buffer.push(DATA);
                // Whoever does not take what we send has its reasons; the end of the connection tells enough.
                match from.read_buf(&mut buffer).await {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {}
                }
                if sending.send(Message::Binary(buffer.into())).await.is_err() {
                    break;
                }
            }
            ended.send_replace(true);
            std::future::pending::<()>().await
        };
        // Apart, so that one message is read while another one is written.
        let (come, mut came) = tokio::sync::mpsc::channel::<Bytes>(WAITING);
        let receive = async move {
            let mut begun = [false; 2];
            loop {
                let next = receiving.next();
                let message = match after {
                    Some(after) => tokio::select! {
                        message = next => message,
                        () = async {
                            let _ = is_ended.wait_for(|ended| *ended).await;
                            tokio::time::sleep(after).await;
                        } => return Ok(()),
                    },
                    None => next.await,
                };
                let bytes = match message {
                    None | Some(Ok(Message::Close(_))) => return Ok(()),
                    Some(Ok(Message::Binary(bytes))) => bytes,
                    Some(Ok(_)) => continue,
                    Some(Err(error)) => {
                        let what = format!("the connection to {what} broke");
                        return Err(Error::new(Kind::Failed, what).caused(error));
                    }
                };
                let Some(channel @ (DATA | ERROR)) = bytes.first().copied() else {
                    continue;
                };
                if !std::mem::replace(&mut begun[usize::from(channel)], true) {
                    continue;
                }
                let bytes = bytes.slice(1..);
                if channel == ERROR {
                    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
                    return Err(refused(&what, &text));
                }
                if come.send(bytes).await.is_err() {
                    return Ok(());
                }
            }
        };
        // When nobody takes it any more, receiving ends with this.
        let write = async move {
            while let Some(bytes) = came.recv().await {
                to.write_all(&bytes).await?;
                if came.is_empty() {
                    to.flush().await?;
                }
            }
            to.shutdown().await
        };
        let receive_and_write = async {
            let (received, _written) = tokio::join!(receive, write);
            received
        };
        tokio::select! {
            done = receive_and_write => done,
            () = send => Ok(()),
        }
    }
}

/// What the kubelet says of a port that nobody serves.
fn refused(what: &str, text: &str) -> Error {
    match text.contains("connection refused") {
        true => Error::new(Kind::Failed, format!("nobody listens at {what}")),
        false => Error::new(Kind::Failed, format!("cannot connect to {what}: {text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_numbers_or_names() {
        assert_eq!("80".parse::<Port>().unwrap(), Port::Number(80));
        assert_eq!("http".parse::<Port>().unwrap(), Port::Name("http".into()));
        for bad in ["0", "65536", "-", "", "A", "8 0", "http_"] {
            assert!(bad.parse::<Port>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_name_is_looked_up_in_the_pod() {
        let pod = serde_json::json!({"spec": {"containers": [
            {"name": "box", "ports": [{"name": "ssh", "containerPort": 2222}]},
            {"name": "b", "ports": [{"name": "http", "containerPort": 80}]}]}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let ssh = Port::Name("ssh".into());
        assert_eq!(ssh.of(&pod), Some(2222));
        assert_eq!(Port::Name("http".into()).of(&pod), Some(80));
        assert_eq!(Port::Name("dns".into()).of(&pod), None);
        assert_eq!(ssh.of(&Pod::default()), Some(22));
    }
}
