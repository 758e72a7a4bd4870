//! Lines of several logs in the order of time.
//!
//! [`Backlog`] is for what is there: every log is in its own order already, so the earliest of their first lines is next,
//! once all of them are known. [`Window`] is for what comes: nobody knows what is still on its way, so lines are held
//! back for a moment.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use super::Line;

/// How long a line may be on its way while an earlier one is shown.
const HOLD: Duration = Duration::from_millis(300);

/// Of several logs, each in its order, what is next.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    logs: Vec<VecDeque<Line>>,
    /// Times of first lines.
    first: BinaryHeap<Reverse<(i64, usize)>>,
}

impl Backlog {
    /// For so many logs.
    pub(crate) fn new(logs: usize) -> Self {
        Self {
            logs: vec![VecDeque::new(); logs],
            first: BinaryHeap::new(),
        }
    }

    /// More lines of a log.
    pub(crate) fn add(&mut self, log: usize, lines: Vec<Line>) {
        let before = self.logs[log].is_empty();
        self.logs[log].extend(lines);
        if let (true, Some(first)) = (before, self.logs[log].front()) {
            self.first.push(Reverse((first.time, log)));
        }
    }

    /// Has a log no line here? Until it has one, or has ended, nobody knows what is next.
    pub(crate) fn lacks(&self, log: usize) -> bool {
        self.logs[log].is_empty()
    }

    /// The earliest line and its log.
    pub(crate) fn next(&mut self) -> Option<(usize, Line)> {
        let Reverse((_, log)) = self.first.pop()?;
        let line = self.logs[log].pop_front()?;
        if let Some(next) = self.logs[log].front() {
            self.first.push(Reverse((next.time, log)));
        }
        Some((log, line))
    }
}

/// Lines that are held back until nothing earlier is expected.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// By time, then in the order in which they came.
    held: BTreeMap<(i64, u64), (Instant, usize, Line)>,
    count: u64,
}

impl Window {
    /// Holds a line back.
    pub(crate) fn add(&mut self, now: Instant, log: usize, line: Line) {
        self.count += 1;
        self.held.insert((line.time, self.count), (now, log, line));
    }

    /// When the next line is due; `None` when none is held.
    pub(crate) fn due(&self) -> Option<Instant> {
        let came = self.held.values().map(|(came, ..)| *came).min()?;
        Some(came + HOLD)
    }

    /// All that was held long enough, and what is earlier.
    pub(crate) fn take(&mut self, now: Instant) -> Vec<(usize, Line)> {
        let due = |came: Instant| came + HOLD <= now;
        let mut held = self.held.iter();
        let Some((&(time, count), _)) = held.rfind(|(_, (came, ..))| due(*came)) else {
            return Vec::new();
        };
        let later = self.held.split_off(&(time, count + 1));
        let taken = std::mem::replace(&mut self.held, later);
        taken
            .into_values()
            .map(|(_, log, line)| (log, line))
            .collect()
    }

    /// All that is held.
    pub(crate) fn rest(&mut self) -> Vec<(usize, Line)> {
        let held = std::mem::take(&mut self.held);
        held.into_values()
            .map(|(_, log, line)| (log, line))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(time: i64) -> Line {
        Line {
            time,
            text: format!("{time}\n").into_bytes(),
        }
    }

    proptest! {
        #[test]
        fn all_lines_come_in_the_order_of_time(
            logs in prop::collection::vec(prop::collection::vec(0_i64..100, 0..20), 1..6),
            piece in 1_usize..5,
        ) {
            let mut backlog = Backlog::new(logs.len());
            let mut waiting: Vec<VecDeque<i64>> = logs
                .iter()
                .map(|times| {
                    let mut times = times.clone();
                    times.sort_unstable();
                    times.into()
                })
                .collect();
            let mut seen = Vec::new();
            loop {
                for (log, times) in waiting.iter_mut().enumerate() {
                    if backlog.lacks(log) {
                        let some = times.drain(..piece.min(times.len()));
                        backlog.add(log, some.map(line).collect());
                    }
                }
                match backlog.next() {
                    Some((_, line)) => seen.push(line.time),
                    None => break,
                }
            }
            prop_assert_eq!(seen.len(), logs.iter().map(Vec::len).sum::<usize>());
            prop_assert!(seen.is_sorted());
        }
    }

    #[test]
    fn what_comes_is_put_in_order_within_a_moment() {
        let begun = Instant::now();
        let at = |millis| begun + Duration::from_millis(millis);
        let times = |lines: Vec<(usize, Line)>| -> Vec<i64> {
            lines.into_iter().map(|(_, line)| line.time).collect()
        };
        let mut window = Window::default();
        window.add(at(0), 0, line(20));
        window.add(at(100), 1, line(10));
        window.add(at(100), 1, line(30));
        assert_eq!(window.due(), Some(at(300)));
        assert!(window.take(at(299)).is_empty());
        assert_eq!(times(window.take(at(300))), [10, 20]);
        window.add(at(400), 0, line(25));
        assert_eq!(times(window.take(at(450))), [25, 30]);
        window.add(at(500), 0, line(1));
        assert_eq!(times(window.rest()), [1]);
        assert_eq!(window.due(), None);
    }
}
