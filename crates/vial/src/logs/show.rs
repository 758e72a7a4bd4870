//! How lines of logs are printed: as text with names before them, or as JSON.

use clap::ValueEnum;
use jiff::Timestamp;
use serde::Serialize;

use super::Line;
use super::place::Place;
use crate::error::{Error, Result};
use crate::ui::Style;

/// The form of what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line: time, node, component, message.
    Json,
}

/// How lines become bytes.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) format: Format,
    /// The time before each line.
    pub(crate) timestamps: bool,
    /// Node and component before each line.
    pub(crate) names: bool,
    pub(crate) color: bool,
    /// Columns of the names, in characters.
    widths: (usize, usize),
}

#[derive(Serialize)]
struct Object<'a> {
    time: String,
    node: &'a str,
    component: &'a str,
    message: &'a str,
}

impl Shape {
    /// For logs of these places.
    pub(crate) fn new(format: Format, places: &[Place]) -> Self {
        let width = |name: fn(&Place) -> &str| {
            let lengths = places.iter().map(|place| name(place).len());
            lengths.max().unwrap_or(0)
        };
        Self {
            format,
            timestamps: false,
            names: true,
            color: false,
            widths: (width(|place| &place.node), width(|place| &place.component)),
        }
    }

    /// Adds a line to `out`. In text, bytes that are no text stay as they are.
    pub(crate) fn put(&self, out: &mut Vec<u8>, place: &Place, line: &Line) -> Result<()> {
        match self.format {
            Format::Text => {
                if self.timestamps {
                    let time = time(line.time) + " ";
                    out.extend(Style::Dim.paint(&time, self.color).bytes());
                }
                if self.names {
                    let (node, component) = self.widths;
                    let names = format!("{:node$} {:component$}", place.node, place.component);
                    out.extend(Style::Accent.paint(&names, self.color).bytes());
                    out.extend_from_slice(b" | ");
                }
                out.extend_from_slice(&line.text);
            }
            Format::Json => {
                let text = String::from_utf8_lossy(&line.text);
                let object = Object {
                    time: time(line.time),
                    node: &place.node,
                    component: &place.component,
                    // sshd ends lines as terminals want them.
                    message: text.trim_end_matches(['\n', '\r']),
                };
                serde_json::to_writer(&mut *out, &object)
                    .map_err(|error| Error::caused("cannot write a line as JSON", error))?;
                out.push(b'\n');
            }
        }
        Ok(())
    }
}

/// RFC 3339, always with microseconds, so that times are of one width.
fn time(micros: i64) -> String {
    let time = Timestamp::from_microsecond(micros).unwrap_or_default();
    format!("{time:.6}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::place::Origin;

    fn places() -> [Place; 2] {
        [("cp-1", "etcd"), ("w-1", "kubelet")].map(|(node, component)| Place {
            node: node.into(),
            component: component.into(),
            origin: Origin::File("/x".into()),
        })
    }

    fn shown(shape: &Shape) -> String {
        let [etcd, kubelet] = places();
        let line = |time, text: &[u8]| Line {
            time,
            text: text.to_vec(),
        };
        let mut out = Vec::new();
        shape.put(&mut out, &etcd, &line(1, b"one\n")).unwrap();
        let two = line(1_795_255_200_500_000, b"two \xff\"\n");
        shape.put(&mut out, &kubelet, &two).unwrap();
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn every_line_has_its_node_and_component() {
        let mut shape = Shape::new(Format::Text, &places());
        assert_eq!(
            shown(&shape),
            "cp-1 etcd    | one\nw-1  kubelet | two \u{fffd}\"\n"
        );
        shape.names = false;
        shape.timestamps = true;
        assert_eq!(
            shown(&shape),
            "1970-01-01T00:00:00.000001Z one\n2026-11-21T10:00:00.500000Z two \u{fffd}\"\n"
        );
    }

    #[test]
    fn json_is_an_object_a_line() {
        let text = shown(&Shape::new(Format::Json, &places()));
        assert_eq!(
            text.lines().last().unwrap(),
            r#"{"time":"2026-11-21T10:00:00.500000Z","node":"w-1","component":"kubelet","message":"two �\""}"#
        );
    }
}
