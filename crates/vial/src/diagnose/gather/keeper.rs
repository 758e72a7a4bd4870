//! What a cluster's keeper says, and how the keeper itself does. One that does not run is not started.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use futures::StreamExt as _;
use serde::Serialize;
use vial_engine::paths::Paths;
use vial_keeper::api::{CheckEvent, CheckResult};
use vial_keeper::client::{Client, ClientError};

use super::{Tray, late};
use crate::context::Context;
use crate::error::{Error, chain};

/// For one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// For all checks together.
const CHECK: Duration = Duration::from_secs(30);

/// Gathers what of `cluster/` the keeper knows.
pub(in crate::diagnose) async fn gather(context: &Context, cluster: &str, tray: &Tray) {
    let state = Ok::<_, Error>(state(&context.paths, cluster));
    tray.text("cluster/keeper.txt", "how the keeper does", state);
    let answers = [
        ("cluster/status.json", "its state, as `vial status` says"),
        (
            "cluster/ports.json",
            "forwarded ports, as `vial port ls` says",
        ),
        (
            "cluster/images.json",
            "container images of all nodes, as `vial image ls` says",
        ),
        ("cluster/check.json", "does it work, as `vial check` says"),
    ];
    let [status, ports, images, checks] = answers;
    let Some(client) = Client::connect(&context.paths, cluster).await else {
        for (path, what) in answers {
            tray.nothing(path, what, "no keeper answers at its socket");
        }
        return;
    };
    tokio::join!(
        answer(tray, status, client.status()),
        answer(tray, ports, client.ports()),
        answer(tray, images, client.images()),
    );
    let mut results = Vec::new();
    let checked = tokio::time::timeout(CHECK, check(&client, &mut results)).await;
    let why = match checked {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(chain(&error)),
        Err(_) => Some(late(CHECK)),
    };
    if let Some(why) = why {
        tray.nothing(checks.0, "the checks that had not ended then", why);
    }
    if !results.is_empty() {
        tray.json(checks.0, checks.1, Ok::<_, Error>(results));
    }
}

async fn answer<T: Serialize>(
    tray: &Tray,
    (path, what): (&str, &str),
    asked: impl Future<Output = Result<T, ClientError>>,
) {
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answer) => tray.json(path, what, answer),
        Err(_) => tray.nothing(path, what, late(PATIENCE)),
    }
}

async fn check(client: &Client, results: &mut Vec<CheckResult>) -> Result<(), ClientError> {
    let mut events = std::pin::pin!(client.check().await?);
    while let Some(event) = events.next().await {
        match event? {
            CheckEvent::Result(result) => results.push(result),
            CheckEvent::Done { .. } => break,
        }
    }
    Ok(())
}

/// Who has signed the cluster's lock, and what the kernel says of that process.
fn state(paths: &Paths, cluster: &str) -> String {
    let lock = paths.lock_file(cluster);
    let signed = fs::read_to_string(&lock).unwrap_or_else(|error| error.to_string());
    let mut text = format!("{}: {signed}\n", lock.display());
    let signature: serde_json::Value = serde_json::from_str(&signed).unwrap_or_default();
    let Some(pid) = signature["pid"].as_u64() else {
        text += "no keeper has signed it\n";
        return text;
    };
    for file in ["status", "wchan", "io"] {
        let path = format!("/proc/{pid}/{file}");
        let content = fs::read_to_string(&path).unwrap_or_else(|error| error.to_string());
        let _ = writeln!(text, "\n== {path}\n{}", content.trim_end());
    }
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    let _ = writeln!(text, "\ndescriptors: {descriptors}");
    text
}
