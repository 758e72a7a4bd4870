//! What came of asking one target, for people and for programs; pure.

use std::io;
use std::time::Duration;

use serde_json::json;

/// Answers so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    sent: u32,
    times: Vec<Duration>,
    /// The last thing that went wrong.
    error: Option<String>,
}

impl Tally {
    /// Nothing was answered, for one reason.
    pub(super) fn lost(sent: u32, error: String) -> Self {
        Self {
            sent,
            times: Vec::new(),
            error: Some(error),
        }
    }

    pub(super) fn add(&mut self, answer: io::Result<Duration>) {
        self.sent += 1;
        match answer {
            Ok(time) => self.times.push(time),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                self.error = Some("no answer in time".into());
            }
            Err(error) => self.error = Some(error.to_string()),
        }
    }
}

/// One target's.
#[derive(Debug, Clone)]
pub(super) struct Report {
    pub(super) target: String,
    /// `icmp` or `tcp`.
    pub(super) how: &'static str,
    pub(super) tally: Tally,
}

impl Report {
    /// Whether every request was answered.
    pub(super) fn is_good(&self) -> bool {
        self.tally.times.len() == self.tally.sent as usize
    }

    /// Microseconds: least, average, most; `None` without an answer.
    fn times(&self) -> Option<[u128; 3]> {
        let times = self.tally.times.iter().map(Duration::as_micros);
        let (least, most) = (times.clone().min()?, times.clone().max()?);
        let average = times.sum::<u128>() / self.tally.times.len().max(1) as u128;
        Some([least, average, most])
    }

    pub(super) fn json(&self) -> String {
        let [least, average, most] = match self.times() {
            Some(times) => times.map(|time| u64::try_from(time).ok()),
            None => [None; 3],
        };
        json!({
            "target": self.target,
            "sent": self.tally.sent,
            "received": self.tally.times.len(),
            "min_us": least,
            "avg_us": average,
            "max_us": most,
            "how": self.how,
            "error": self.tally.error,
        })
        .to_string()
    }

    pub(super) fn line(&self) -> String {
        let received = self.tally.times.len();
        let mut line = format!(
            "{}: {received} of {} answered",
            self.target, self.tally.sent
        );
        if !self.target.starts_with(self.how) {
            line += " (by connections to port 22: echoes are not permitted here)";
        }
        if let Some([least, average, most]) = self.times() {
            line += &format!(", {least}/{average}/{most} µs");
        }
        if let Some(error) = &self.tally.error {
            line += &format!(", {error}");
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(target: &str, answers: &[Option<u64>]) -> Report {
        let mut tally = Tally::default();
        for answer in answers {
            tally.add(match answer {
                Some(time) => Ok(Duration::from_micros(*time)),
                None => Err(io::ErrorKind::TimedOut.into()),
            });
        }
        Report {
            target: target.into(),
            how: "icmp",
            tally,
        }
    }

    #[test]
    fn a_program_reads_a_line_of_json() {
        let good = report("icmp:10.0.0.1", &[Some(10), Some(20), Some(60)]);
        assert_eq!(
            good.json(),
            r#"{"target":"icmp:10.0.0.1","sent":3,"received":3,"min_us":10,"avg_us":30,"max_us":60,"how":"icmp","error":null}"#
        );
        assert!(good.is_good());
        let bad = report("icmp:10.0.0.1", &[None]);
        assert_eq!(
            bad.json(),
            r#"{"target":"icmp:10.0.0.1","sent":1,"received":0,"min_us":null,"avg_us":null,"max_us":null,"how":"icmp","error":"no answer in time"}"#
        );
        assert!(!bad.is_good());
    }

    #[test]
    fn a_person_reads_what_was_lost_and_how_it_was_asked() {
        let mut some = report("icmp:::1", &[Some(10), None]);
        assert_eq!(
            some.line(),
            "icmp:::1: 1 of 2 answered, 10/10/10 µs, no answer in time"
        );
        some.how = "tcp";
        assert!(some.line().contains("echoes are not permitted here"));
    }
}
