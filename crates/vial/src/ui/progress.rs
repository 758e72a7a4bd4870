//! The steps of an operation as they go: spinners on a terminal, one line for each finished step elsewhere.
//!
//! Times are those of the keeper where it gives them (`atUs` of its events), so that a client that attaches late shows
//! how long a step really took; a running step counts on from there with this machine's clock.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use vial_keeper::api::Event;

use super::trace::Trace;
use super::{Style, Ui};
use crate::error::{Error, Result};

/// Shows the steps of one operation.
#[derive(Debug)]
pub(crate) struct Progress {
    ui: Ui,
    began: Instant,
    running: BTreeMap<String, Step>,
    bars: Option<MultiProgress>,
    trace: Option<Trace>,
}

#[derive(Debug)]
struct Step {
    label: String,
    at_us: u64,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(super) fn new(ui: Ui) -> Self {
        // Ten frames a second are enough for a person, and cheap.
        let bars = (ui.live && !ui.quiet)
            .then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)));
        Self {
            ui,
            began: Instant::now(),
            running: BTreeMap::new(),
            bars,
            trace: None,
        }
    }

    /// Also remembers everything for `--trace`, when `wanted`.
    pub(crate) fn tracing(mut self, wanted: bool) -> Self {
        self.trace = wanted.then(Trace::default);
        self
    }

    /// Shows one event of a keeper. Results and the last ones, `done` and `failed`, are for the caller.
    pub(crate) fn event(&mut self, event: &Event) {
        match event {
            Event::Started {
                id,
                title,
                node,
                at_us,
            } => self.started(id, title, node.as_deref(), *at_us),
            Event::Finished { id, at_us } => self.finished(id, *at_us),
            Event::Note { text } => self.note(text),
            Event::Removed { .. } | Event::Done { .. } | Event::Failed { .. } => {}
        }
    }

    /// Microseconds since this was made, for steps of the command line's own.
    pub(crate) fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// A step began at `at_us`.
    pub(crate) fn started(&mut self, id: &str, title: &str, node: Option<&str>, at_us: u64) {
        if let Some(trace) = &mut self.trace {
            trace.started(id, title, node, at_us);
        }
        let label = label(title, node);
        let bar = self
            .bars
            .as_ref()
            .map(|bars| spinner(bars, &label, &self.ui));
        if let Some(earlier) = self
            .running
            .insert(id.to_owned(), Step { label, at_us, bar })
        {
            earlier.clear();
        }
    }

    /// A step ended well at `at_us`.
    pub(crate) fn finished(&mut self, id: &str, at_us: u64) {
        if let Some(trace) = &mut self.trace {
            trace.finished(id, at_us);
        }
        if let Some(step) = self.running.remove(id) {
            let took = Duration::from_micros(at_us.saturating_sub(step.at_us));
            let line = finished_line(&step.label, took, |style, text| {
                self.ui.paint_err(style, text)
            });
            step.clear();
            self.print(&line);
        }
    }

    /// A step ended well and there is nothing to tell of it: its result was there already.
    pub(crate) fn forget(&mut self, id: &str, at_us: u64) {
        if let Some(trace) = &mut self.trace {
            trace.finished(id, at_us);
        }
        if let Some(step) = self.running.remove(id) {
            step.clear();
        }
    }

    /// How far a running step is: `3 of 12 packages`.
    pub(crate) fn detail(&mut self, id: &str, detail: &str) {
        if let Some(Step {
            label,
            bar: Some(bar),
            ..
        }) = self.running.get(id)
        {
            bar.set_message(format!("{label} {}", self.ui.paint_err(Style::Dim, detail)));
        }
    }

    /// One line between the steps.
    pub(crate) fn note(&self, text: &str) {
        self.print(&format!("{} {text}", self.ui.paint_err(Style::Accent, "·")));
    }

    /// Takes the spinners away. Steps that still run are named when the operation failed.
    pub(crate) fn end(&mut self, failed: bool) {
        for step in std::mem::take(&mut self.running).into_values() {
            step.clear();
            if failed {
                self.print(&format!(
                    "{} {}",
                    self.ui.paint_err(Style::Bad, "✗"),
                    step.label
                ));
            }
        }
    }

    /// Writes what `--trace` wants to see.
    pub(crate) fn write_trace(&self, path: &Path) -> Result<()> {
        let Some(trace) = &self.trace else {
            return Ok(());
        };
        std::fs::write(path, format!("{}\n", trace.to_json())).map_err(|error| {
            Error::caused(format!("cannot write the trace {}", path.display()), error)
        })
    }

    fn print(&self, line: &str) {
        match &self.bars {
            Some(bars) => {
                let _ = bars.println(line);
            }
            None => self.ui.status(line),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end(false);
    }
}

impl Step {
    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn spinner(bars: &MultiProgress, label: &str, ui: &Ui) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {msg} {elapsed:.dim}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
        .tick_strings(&["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏", " "]);
    let bar = bars.add(ProgressBar::new_spinner().with_style(style));
    bar.set_message(ui.paint_err(Style::Plain, label));
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// `start kubelet on w-1`; a title that names its node already is left as it is.
fn label(title: &str, node: Option<&str>) -> String {
    match node {
        Some(node) if !title.split_whitespace().any(|word| word == node) => {
            format!("{title} on {node}")
        }
        _ => title.to_owned(),
    }
}

fn finished_line(label: &str, took: Duration, paint: impl Fn(Style, &str) -> String) -> String {
    format!(
        "{} {label} {}",
        paint(Style::Good, "✓"),
        paint(Style::Dim, &format!("({})", seconds(took)))
    )
}

/// `0.8s`, `12s`, `3m05s`: as exact as a person cares for.
pub(crate) fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1}s", duration.as_secs_f64()),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finished_step_is_one_line() {
        let line = finished_line(
            &label("start kubelet", Some("w-1")),
            Duration::from_millis(812),
            |_, text| text.into(),
        );
        assert_eq!(line, "✓ start kubelet on w-1 (0.8s)");
    }

    #[test]
    fn a_node_is_named_once() {
        assert_eq!(label("start w-1", Some("w-1")), "start w-1");
        assert_eq!(label("start w-10", Some("w-1")), "start w-10 on w-1");
        assert_eq!(label("make the sandbox", None), "make the sandbox");
    }

    #[test]
    fn durations_are_short() {
        let shown = [0.04, 9.94, 12.7, 65.0, 7500.0].map(|s| seconds(Duration::from_secs_f64(s)));
        assert_eq!(shown, ["0.0s", "9.9s", "12s", "1m05s", "2h05m"]);
    }

    #[test]
    fn events_become_steps_and_a_trace() {
        let ui = Ui {
            quiet: true,
            live: false,
            color_out: false,
            color_err: false,
        };
        let mut progress = Progress::new(ui).tracing(true);
        let started = |id: &str, at_us| Event::Started {
            id: id.into(),
            title: "start".into(),
            node: Some("w-1".into()),
            at_us,
        };
        progress.event(&started("w-1/kubelet", 10));
        progress.event(&started("w-1/containerd", 20));
        progress.event(&Event::Finished {
            id: "w-1/kubelet".into(),
            at_us: 30,
        });
        assert_eq!(
            progress.running.keys().collect::<Vec<_>>(),
            ["w-1/containerd"]
        );
        progress.end(true);
        assert!(progress.running.is_empty());

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace.json");
        progress.write_trace(&path).unwrap();
        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(
            json["traceEvents"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|e| e["ph"] == "X")
                .count(),
            2
        );
    }
}
