//! What QEMU says, line by line. Pure.

use serde::Deserialize;
use serde_json::Value;

use super::event::{self, Event};

/// One line.
#[derive(Debug, PartialEq)]
pub(super) enum Message {
    Greeting(Version),
    Answer {
        id: u64,
        answer: Result<Value, Refusal>,
    },
    Event(Event),
    /// Nothing that anybody waits for.
    Other,
}

/// QEMU's own words.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Refusal {
    pub(super) class: String,
    #[serde(rename = "desc")]
    pub(super) text: String,
}

/// Which QEMU it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Version {
    /// 10 of 10.0.13.
    pub major: u32,
    /// 0 of 10.0.13.
    pub minor: u32,
    /// 13 of 10.0.13.
    pub micro: u32,
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "QMP")]
    greeting: Option<Greeting>,
    id: Option<u64>,
    #[serde(rename = "return", default, deserialize_with = "present")]
    answer: Option<Value>,
    error: Option<Refusal>,
    event: Option<String>,
    #[serde(default)]
    data: Value,
    timestamp: Option<event::Timestamp>,
}

#[derive(Deserialize)]
struct Greeting {
    version: GreetingVersion,
}

#[derive(Deserialize)]
struct GreetingVersion {
    qemu: Version,
}

/// Also `null` is an answer.
fn present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(value).map(Some)
}

pub(super) fn parse(line: &[u8]) -> Message {
    let Ok(line) = serde_json::from_slice::<Line>(line) else {
        return Message::Other;
    };
    match line {
        Line {
            greeting: Some(greeting),
            ..
        } => Message::Greeting(greeting.version.qemu),
        Line {
            event: Some(name),
            data,
            timestamp,
            ..
        } => Message::Event(event::read(name, data, timestamp)),
        Line {
            id: Some(id),
            error: Some(refusal),
            ..
        } => Message::Answer {
            id,
            answer: Err(refusal),
        },
        Line {
            id: Some(id),
            answer: Some(value),
            ..
        } => Message::Answer {
            id,
            answer: Ok(value),
        },
        _ => Message::Other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_greeting_tells_the_version() {
        let line = br#"{"QMP": {"version": {"qemu": {"micro": 13, "minor": 0, "major": 10}, "package": "Debian 1:10.0.13+ds-0+deb13u1"}, "capabilities": ["oob"]}}"#;
        let version = Version {
            major: 10,
            minor: 0,
            micro: 13,
        };
        assert_eq!(parse(line), Message::Greeting(version));
    }

    #[test]
    fn answers_belong_to_what_was_asked() {
        assert_eq!(
            parse(br#"{"return": {"running": false, "status": "prelaunch"}, "id": 7}"#),
            Message::Answer {
                id: 7,
                answer: Ok(json!({ "running": false, "status": "prelaunch" }))
            }
        );
        assert_eq!(
            parse(br#"{"id": 8, "error": {"class": "CommandNotFound", "desc": "The command x has not been found"}}"#),
            Message::Answer {
                id: 8,
                answer: Err(Refusal {
                    class: "CommandNotFound".into(),
                    text: "The command x has not been found".into()
                })
            }
        );
        assert_eq!(
            parse(br#"{"return": null, "id": 9}"#),
            Message::Answer {
                id: 9,
                answer: Ok(Value::Null)
            }
        );
    }

    #[test]
    fn what_nobody_waits_for_is_passed_over() {
        for line in [
            "",
            "{}",
            "[]",
            "nonsense",
            r#"{"return": {}}"#,
            r#"{"error": 1, "id": 1}"#,
        ] {
            assert_eq!(parse(line.as_bytes()), Message::Other, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_line_harms(line in prop::collection::vec(any::<u8>(), 0..100)) {
            parse(&line);
        }
    }
}
