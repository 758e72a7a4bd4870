//! Logs: tails, whole lines, following.

use tokio_stream::StreamExt as _;
use tonic::{Code, Streaming};
use vial_rpc::{ComponentSpec, LogsChunk, LogsRequest};

use crate::lab::Lab;

async fn logs(lab: &Lab, component: &str, follow: bool, tail_lines: u64) -> Streaming<LogsChunk> {
    let request = LogsRequest {
        component: component.into(),
        follow,
        tail_lines,
        ..LogsRequest::default()
    };
    lab.client().logs(request).await.unwrap().into_inner()
}

async fn all(mut chunks: Streaming<LogsChunk>) -> Vec<(String, String)> {
    let mut all = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.unwrap();
        all.push((chunk.component, String::from_utf8(chunk.data).unwrap()));
    }
    all
}

/// Collects chunks until what came ends with `end`.
async fn until(chunks: &mut Streaming<LogsChunk>, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let chunk = chunks.next().await.expect("the log ended").unwrap();
        if chunk.caught_up {
            assert!(chunk.data.is_empty());
            continue;
        }
        assert!(chunk.data.ends_with(b"\n"), "only whole lines");
        text.push_str(std::str::from_utf8(&chunk.data).unwrap());
    }
    text
}

async fn ran(lab: &Lab, name: &str, script: &str) {
    lab.apply(ComponentSpec {
        foreground_once: true,
        ..lab.sh(name, script)
    })
    .await;
    lab.wait_ready(name).await;
}

#[tokio::test]
async fn both_outputs_are_in_the_log_and_runs_are_appended() {
    let lab = Lab::new().await;
    ran(&lab, "x", "echo out; echo err >&2").await;
    ran(&lab, "x", "echo again").await;
    assert_eq!(
        all(logs(&lab, "x", false, 0).await).await,
        [("x".into(), "out\nerr\nagain\n".into())]
    );
    assert_eq!(
        all(logs(&lab, "x", false, 2).await).await,
        [("x".into(), "err\nagain\n".into())]
    );
}

#[tokio::test]
async fn without_a_name_all_logs_come_with_theirs() {
    let lab = Lab::new().await;
    ran(&lab, "a", "echo one; echo two").await;
    ran(&lab, "b", "printf unfinished").await;
    let chunks = all(logs(&lab, "", false, 1).await).await;
    assert_eq!(
        chunks,
        [
            ("a".into(), "two\n".into()),
            ("b".into(), "unfinished\n".into())
        ]
    );
}

#[tokio::test]
async fn following_shows_what_is_appended() {
    let lab = Lab::new().await;
    let script = "echo first; exec 4<>$LAB/fifo; while read -r line <&4; do echo got $line; done";
    rustix::fs::mknodat(
        rustix::fs::CWD,
        lab.path("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    lab.apply(lab.sh("x", script)).await;
    let mut chunks = logs(&lab, "x", true, 10).await;
    assert_eq!(until(&mut chunks, "first\n").await, "first\n");
    for word in ["one", "two"] {
        tokio::fs::write(lab.path("fifo"), format!("{word}\n"))
            .await
            .unwrap();
        assert_eq!(
            until(&mut chunks, &format!("got {word}\n")).await,
            format!("got {word}\n")
        );
    }
    // The log is cut, as the agent itself does with large ones.
    std::fs::OpenOptions::new()
        .write(true)
        .open(lab.path("x.log"))
        .unwrap()
        .set_len(0)
        .unwrap();
    tokio::fs::write(lab.path("fifo"), "three\n").await.unwrap();
    assert_eq!(until(&mut chunks, "got three\n").await, "got three\n");
}

#[tokio::test]
async fn lines_have_times_and_reading_goes_on_where_it_ended() {
    let lab = Lab::new().await;
    ran(
        &lab,
        "x",
        "echo 2026-11-21T10:00:00Z one; echo 2026-11-21T10:00:01Z more",
    )
    .await;
    let mut request = LogsRequest {
        component: "x".into(),
        follow: true,
        ..LogsRequest::default()
    };
    let mut chunks = lab
        .client()
        .logs(request.clone())
        .await
        .unwrap()
        .into_inner();
    let first = chunks.next().await.unwrap().unwrap();
    assert_eq!(first.times_unix_us[0], 1_795_255_200_000_000);
    assert_eq!(first.times_unix_us.len(), 2);
    let caught_up = chunks.next().await.unwrap().unwrap();
    assert!(caught_up.caught_up && caught_up.data.is_empty());
    assert_eq!(caught_up.next_offset, first.data.len() as u64);

    ran(&lab, "x", "echo 2026-11-21T11:00:00Z two").await;
    request.follow = false;
    request.offset = Some(caught_up.next_offset);
    let chunks = lab
        .client()
        .logs(request.clone())
        .await
        .unwrap()
        .into_inner();
    let two = "2026-11-21T11:00:00Z two\n";
    assert_eq!(all(chunks).await, [("x".into(), two.into())]);
    request.offset = None;
    request.since_unix_us = 1_795_258_800_000_000;
    let chunks = lab.client().logs(request).await.unwrap().into_inner();
    assert_eq!(all(chunks).await, [("x".into(), two.into())]);
}

#[tokio::test]
async fn following_all_includes_components_that_come_later() {
    let lab = Lab::new().await;
    let mut chunks = logs(&lab, "", true, 0).await;
    ran(&lab, "late", "echo here").await;
    assert_eq!(until(&mut chunks, "here\n").await, "here\n");
}

#[tokio::test]
async fn a_large_log_comes_whole() {
    let lab = Lab::new().await;
    ran(&lab, "x", "seq 1 200000").await;
    let text: String = all(logs(&lab, "x", false, 0).await)
        .await
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    assert_eq!(text.lines().count(), 200_000);
    assert!(text.starts_with("1\n2\n") && text.ends_with("\n199999\n200000\n"));
}

#[tokio::test]
async fn an_unknown_component_has_no_log() {
    let lab = Lab::new().await;
    ran(&lab, "kubelet", "true").await;
    let request = LogsRequest {
        component: "kublet".into(),
        ..Default::default()
    };
    let error = lab.client().logs(request).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    assert_eq!(
        error.message(),
        "no component kublet here; did you mean kubelet?"
    );
}
