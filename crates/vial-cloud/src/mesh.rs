//! Every pod asks every other one: by its addresses of both families, and by its name.
//!
//! ```text
//! pods ──questions──► for each pod: what it asks ──ask: exec of `vial-sshd ping` in all at once──► answers, lost or timed
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::cloud::Cloud;
use crate::pods::PodView;
use crate::words;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// The Pod's IPv4 address: an echo.
    Ipv4,
    /// The Pod's IPv6 address: an echo.
    Ipv6,
    /// The name of the Service: a connection to its ssh port.
    Name,
}

/// What one pod heard of another one.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// Who asked.
    pub from: String,
    /// Who was asked.
    pub to: String,
    /// How.
    pub way: Way,
    /// What was asked: an address or a name.
    pub target: String,
    /// Questions.
    pub sent: u32,
    /// Answers.
    pub received: u32,
    /// Microseconds, of the answers there were.
    pub average_us: Option<u64>,
    /// `icmp` or `tcp`: where echoes are not permitted, connections are made.
    pub how: String,
    /// Why, where something was lost.
    pub error: Option<String>,
}

impl Answer {
    /// Was nothing lost?
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.sent > 0 && self.received == self.sent
    }
}

/// What a pod asks of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Question {
    to: String,
    way: Way,
    /// As `vial-sshd ping` has it.
    target: String,
}

/// A line of `vial-sshd ping --json`.
#[derive(Debug, Deserialize)]
struct Line {
    target: String,
    sent: u32,
    received: u32,
    avg_us: Option<u64>,
    how: String,
    error: Option<String>,
}

/// Has all of these pods ask each other `count` times. A pod that cannot ask has lost everything.
pub async fn ask(cloud: &Cloud, pods: &[PodView], count: u32) -> Vec<Answer> {
    let asking = pods.iter().map(|from| async move {
        let others = pods.iter().filter(|other| !is_same(from, other));
        let questions: Vec<Question> = others.flat_map(questions).collect();
        let lines = match questions.is_empty() {
            true => Ok(String::new()),
            false => run(cloud, from, &questions, count).await,
        };
        answers(from, questions, lines, count)
    });
    join_all(asking).await.into_iter().flatten().collect()
}

fn is_same(one: &PodView, other: &PodView) -> bool {
    (&one.namespace, &one.name) == (&other.namespace, &other.name)
}

fn questions(to: &PodView) -> Vec<Question> {
    let address = |address: &IpAddr| Question {
        to: to.name.clone(),
        way: match address {
            IpAddr::V4(_) => Way::Ipv4,
            IpAddr::V6(_) => Way::Ipv6,
        },
        target: format!("icmp:{address}"),
    };
    let mut questions: Vec<Question> = to.pod_ips.iter().map(address).collect();
    questions.push(Question {
        to: to.name.clone(),
        way: Way::Name,
        target: format!("tcp:{}.{}.svc:22", to.name, to.namespace),
    });
    questions
}

/// Each question with its answer.
fn answers(
    from: &PodView,
    questions: Vec<Question>,
    lines: Result<String, String>,
    count: u32,
) -> Vec<Answer> {
    let (lines, why) = match lines {
        Ok(lines) => (lines, "it was not told".to_owned()),
        Err(why) => (String::new(), why),
    };
    let told = lines
        .lines()
        .filter_map(|line| serde_json::from_str::<Line>(line).ok())
        .map(|line| (line.target.clone(), line));
    let mut told: BTreeMap<String, Line> = told.collect();
    let answer = |question: Question| {
        let line = told.remove(&question.target).unwrap_or_else(|| Line {
            target: question.target.clone(),
            sent: count,
            received: 0,
            avg_us: None,
            how: String::new(),
            error: Some(why.clone()),
        });
        let (_, target) = line.target.split_once(':').unwrap_or_default();
        Answer {
            from: from.name.clone(),
            to: question.to,
            way: question.way,
            target: target.to_owned(),
            sent: line.sent,
            received: line.received,
            average_us: line.avg_us,
            how: line.how,
            error: line.error,
        }
    };
    questions.into_iter().map(answer).collect()
}

/// What the program wrote; else why it could not, in words.
async fn run(
    cloud: &Cloud,
    from: &PodView,
    questions: &[Question],
    count: u32,
) -> Result<String, String> {
    let name = &from.name;
    let pod = from.pod.as_deref().ok_or(format!("{name} does not run"))?;
    let count = format!("--count={count}");
    let mut command = vec![words::SSHD, "ping", "--json", &count];
    command.extend(questions.iter().map(|question| question.target.as_str()));
    let pods: Api<Pod> = Api::namespaced(cloud.client().clone(), &from.namespace);
    let params = AttachParams::default()
        .container(words::CONTAINER)
        .stdin(false)
        .stderr(true);
    let cannot = |error: &dyn std::fmt::Display| format!("{name} cannot ask: {error}");
    let mut process = pods.exec(pod, command, &params).await;
    let process = process.as_mut().map_err(|error| cannot(error))?;
    let (out, err) = (process.stdout(), process.stderr());
    let (out, err) = tokio::join!(read(out), read(err));
    // Something lost is an exit code of its own; what counts is what was told.
    match out.is_empty() {
        true => Err(cannot(&err.trim())),
        false => Ok(out),
    }
}

async fn read(stream: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        // What came until then counts.
        let _ = stream.read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, addresses: &[&str]) -> PodView {
        let service = serde_json::json!({"metadata": {"name": name, "namespace": "team",
            "labels": {"vial.dev/pod": name}}});
        let mut pod = PodView::of(&serde_json::from_value(service).unwrap(), None, &[]);
        pod.pod_ips = addresses.iter().map(|text| text.parse().unwrap()).collect();
        pod
    }

    #[test]
    fn a_pod_is_asked_by_all_it_is_called() {
        let targets: Vec<String> = questions(&pod("b", &["10.0.0.2", "fd00::2"]))
            .into_iter()
            .map(|question| question.target)
            .collect();
        let expected = ["icmp:10.0.0.2", "icmp:fd00::2", "tcp:b.team.svc:22"];
        assert_eq!(targets, expected);
    }

    #[test]
    fn what_is_not_told_is_lost() {
        let (a, b) = (pod("a", &[]), pod("b", &["fd00::2"]));
        let lines = r#"{"target":"icmp:fd00::2","sent":3,"received":3,"avg_us":80,"how":"icmp","error":null}"#;
        let heard = answers(&a, questions(&b), Ok(lines.into()), 3);
        assert_eq!((heard[0].is_good(), heard[1].is_good()), (true, false));
        assert_eq!(heard[0].target, "fd00::2");
        let heard = answers(&a, questions(&b), Err("a does not run".into()), 3);
        assert!(heard.iter().all(|answer| answer.received == 0));
        assert_eq!(heard[0].error.as_deref(), Some("a does not run"));
    }
}
