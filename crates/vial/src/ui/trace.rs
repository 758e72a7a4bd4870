//! `--trace FILE`: an operation as a Chrome trace, to be opened in Perfetto or `chrome://tracing`.
//!
//! Format: "Trace Event Format", complete events (`ph: X`) with microseconds, one row (`tid`) for each node.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// What was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    running: BTreeMap<String, Step>,
    spans: Vec<(Step, Option<u64>)>,
    last_us: u64,
}

#[derive(Debug, Clone)]
struct Step {
    id: String,
    title: String,
    node: Option<String>,
    start_us: u64,
}

impl Trace {
    /// A step began.
    pub(crate) fn started(&mut self, id: &str, title: &str, node: Option<&str>, at_us: u64) {
        self.last_us = self.last_us.max(at_us);
        let step = Step {
            id: id.into(),
            title: title.into(),
            node: node.map(str::to_owned),
            start_us: at_us,
        };
        self.running.insert(id.into(), step);
    }

    /// A step ended.
    pub(crate) fn finished(&mut self, id: &str, at_us: u64) {
        self.last_us = self.last_us.max(at_us);
        if let Some(step) = self.running.remove(id) {
            self.spans.push((step, Some(at_us)));
        }
    }

    /// The whole document. Steps that never ended last until the end and say so.
    pub(crate) fn to_json(&self) -> Value {
        let mut spans: Vec<(&Step, Option<u64>)> =
            self.spans.iter().map(|(step, end)| (step, *end)).collect();
        spans.extend(self.running.values().map(|step| (step, None)));
        spans.sort_by_key(|(step, _)| step.start_us);
        // Row 0 is the cluster itself, then nodes in order of appearance.
        let mut rows: Vec<&str> = vec!["cluster"];
        let mut events = Vec::new();
        for (step, end) in spans {
            let row = step.node.as_deref().unwrap_or("cluster");
            let tid = rows
                .iter()
                .position(|known| *known == row)
                .unwrap_or_else(|| {
                    rows.push(row);
                    rows.len() - 1
                });
            events.push(json!({
                "name": step.title,
                "cat": "vial",
                "ph": "X",
                "ts": step.start_us,
                "dur": end.unwrap_or(self.last_us).saturating_sub(step.start_us),
                "pid": 1,
                "tid": tid,
                "args": { "id": step.id, "finished": end.is_some() },
            }));
        }
        let names = rows.iter().enumerate().map(
            |(tid, name)| json!({"name": "thread_name", "ph": "M", "pid": 1, "tid": tid, "args": {"name": name}}),
        );
        json!({ "traceEvents": names.chain(events).collect::<Vec<_>>(), "displayTimeUnit": "ms" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_row_for_each_node_and_open_steps_are_marked() {
        let mut trace = Trace::default();
        trace.started("sandbox", "make the sandbox", None, 0);
        trace.finished("sandbox", 100);
        trace.started("w-1/kubelet", "start kubelet", Some("w-1"), 150);
        trace.started("cp-1/etcd", "start etcd", Some("cp-1"), 120);
        trace.finished("cp-1/etcd", 400);
        trace.finished("unknown", 500);
        let json = trace.to_json();
        let events = json["traceEvents"].as_array().unwrap();
        let rows: Vec<_> = events
            .iter()
            .filter(|e| e["ph"] == "M")
            .map(|e| e["args"]["name"].as_str().unwrap())
            .collect();
        assert_eq!(rows, ["cluster", "cp-1", "w-1"]);
        let spans: Vec<_> = events
            .iter()
            .filter(|e| e["ph"] == "X")
            .map(|e| {
                (
                    e["args"]["id"].as_str().unwrap(),
                    e["tid"].as_u64(),
                    e["dur"].as_u64(),
                    &e["args"]["finished"],
                )
            })
            .collect();
        assert_eq!(spans[0], ("sandbox", Some(0), Some(100), &json!(true)));
        assert_eq!(spans[1], ("cp-1/etcd", Some(1), Some(280), &json!(true)));
        assert_eq!(spans[2], ("w-1/kubelet", Some(2), Some(350), &json!(false)));
    }
}
