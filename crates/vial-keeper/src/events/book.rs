//! Writing down what happens; the keeper has one book.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::{Happening, What, files, parse};

/// When a file is full, in bytes. Two of them are kept: some thousand events.
const FULL: u64 = 512 * 1024;
/// How many events wait for the cluster's directory at most.
const WAITING: usize = 1000;

/// What an event is about: the cluster, unless a node is named.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct About {
    pub(crate) node: Option<String>,
    pub(crate) component: Option<String>,
}

impl About {
    pub(crate) fn cluster() -> Self {
        Self::default()
    }

    pub(crate) fn node(node: &str) -> Self {
        Self {
            node: Some(node.to_owned()),
            component: None,
        }
    }

    pub(crate) fn component(node: &str, component: &str) -> Self {
        Self {
            component: Some(component.to_owned()),
            ..Self::node(node)
        }
    }
}

/// The story of one cluster.
#[derive(Debug)]
pub(crate) struct Book {
    dir: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    next: u64,
    /// Told before the cluster had a directory, or while it is removed.
    waiting: VecDeque<Happening>,
    closed: bool,
    /// The oldest event that is remembered.
    oldest: Option<Timestamp>,
    /// The last known state of things that are dated by others.
    states: HashMap<About, (Timestamp, What)>,
    sandbox_lives: bool,
    /// How the machine of a node ended the last time: when, and what was told.
    machines: HashMap<String, (String, String)>,
}

impl Book {
    /// Goes on with the story below a cluster's directory, if there is one.
    pub(crate) fn open(dir: &Path) -> Self {
        let mut state = State {
            next: 1,
            waiting: VecDeque::new(),
            closed: false,
            oldest: None,
            states: HashMap::new(),
            sandbox_lives: false,
            machines: HashMap::new(),
        };
        let [present, before] = files(dir);
        for file in [before, present] {
            let text = fs::read(&file).unwrap_or_default();
            parse(&text).for_each(|event| state.remember(&event));
            cut_tail(&file, &text);
        }
        Self {
            dir: dir.to_owned(),
            state: Mutex::new(state),
        }
    }

    /// It happened now.
    pub(crate) fn tell(&self, kind: What, about: About, message: impl Into<String>) {
        let mut state = self.state();
        self.write(&mut state, Timestamp::now(), kind, about, message.into());
    }

    /// It is so since then. Told only when it is news: later than what is known of it, and than the story's beginning.
    pub(crate) fn tell_state(
        &self,
        since: Timestamp,
        kind: What,
        about: About,
        message: impl Into<String>,
    ) {
        let mut state = self.state();
        let is_news = match (state.states.get(&about), state.oldest) {
            // Kubernetes dates its conditions by the second only.
            (Some((known, before)), _) => since > *known || (since == *known && kind != *before),
            (None, Some(oldest)) => since > oldest,
            (None, None) => true,
        };
        if is_news {
            self.write(&mut state, since, kind, about, message.into());
        }
    }

    /// Does the story say that there is a sandbox?
    pub(crate) fn sandbox_lives(&self) -> bool {
        self.state().sandbox_lives
    }

    /// When the machine of a node ended by itself the last time (RFC 3339), and what was told of it.
    pub(crate) fn machine_ended(&self, node: &str) -> Option<(String, String)> {
        self.state().machines.get(node).cloned()
    }

    /// Nothing is written from now on: the directory is being removed. What is told meanwhile waits.
    pub(crate) fn close(&self) {
        self.state().closed = true;
    }

    /// The removal is over; what is there now is another cluster's story, or, where it failed, the same.
    pub(crate) fn open_again(&self) {
        self.state().closed = false;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, state: &mut State, time: Timestamp, kind: What, about: About, message: String) {
        let time = jiff::fmt::temporal::DateTimePrinter::new()
            .precision(Some(3))
            .timestamp_to_string(&time);
        let event = Happening {
            id: state.next,
            time,
            kind,
            severity: kind.severity(),
            node: about.node,
            component: about.component,
            message: message.replace('\n', " "),
        };
        state.remember(&event);
        if state.waiting.len() == WAITING {
            state.waiting.pop_front();
        }
        state.waiting.push_back(event);
        if state.closed || !self.dir.is_dir() {
            return;
        }
        match append(&self.dir, state.waiting.make_contiguous()) {
            Ok(()) => state.waiting.clear(),
            // No space, or removed at this moment: an event is nothing to stop for.
            Err(error) => tracing::warn!(%error, "cannot write down what happened"),
        }
    }
}

impl State {
    fn remember(&mut self, event: &Happening) {
        self.next = self.next.max(event.id + 1);
        match event.kind {
            What::SandboxStarted => self.sandbox_lives = true,
            What::SandboxEnded | What::Stopped => self.sandbox_lives = false,
            What::MachineEnded => {
                if let Some(node) = &event.node {
                    let told = (event.time.clone(), event.message.clone());
                    self.machines.insert(node.clone(), told);
                }
            }
            _ => {}
        }
        let Ok(time) = event.time.parse::<Timestamp>() else {
            return;
        };
        self.oldest = Some(self.oldest.map_or(time, |oldest| oldest.min(time)));
        if event.kind.is_state() {
            let about = About {
                node: event.node.clone(),
                component: event.component.clone(),
            };
            let known = self.states.entry(about).or_insert((time, event.kind));
            if time >= known.0 {
                *known = (time, event.kind);
            }
        }
    }
}

/// Each event is whole or not there: one write, of whole lines.
fn append(dir: &Path, events: &[Happening]) -> io::Result<()> {
    let [present, before] = files(dir);
    let mut text = Vec::new();
    for event in events {
        serde_json::to_writer(&mut text, event)?;
        text.push(b'\n');
    }
    if fs::metadata(&present).is_ok_and(|file| file.len() + text.len() as u64 > FULL) {
        fs::rename(&present, &before)?;
    }
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&present)?;
    file.write_all(&text)
}

/// A keeper that was killed while it wrote may leave a piece of a line.
fn cut_tail(path: &Path, text: &[u8]) {
    let whole = text
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    if whole < text.len() {
        let cut = OpenOptions::new().write(true).open(path);
        // Then the next line is unreadable, which costs one event.
        let _ = cut.and_then(|file: File| file.set_len(whole as u64));
    }
}

#[cfg(test)]
mod tests {
    use super::super::Reader;
    use super::*;

    fn read(dir: &Path) -> Vec<Happening> {
        Reader::of(dir).read().expect("a story")
    }

    fn messages(dir: &Path) -> Vec<String> {
        read(dir).into_iter().map(|event| event.message).collect()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn what_happened_before_there_was_a_directory_is_written_with_what_follows() {
        let dir = tempfile::tempdir().expect("a directory");
        let cluster = dir.path().join("cluster");
        let book = Book::open(&cluster);
        book.tell(What::UpStarted, About::cluster(), "one");
        assert!(!cluster.exists(), "a directory means a cluster");
        fs::create_dir(&cluster).expect("made");
        book.tell(What::SandboxStarted, About::cluster(), "two\nlines");
        assert_eq!(messages(&cluster), ["one", "two lines"]);
        assert!(book.sandbox_lives());
    }

    #[test]
    fn the_next_book_goes_on_and_a_piece_of_a_line_is_cut_off() {
        let dir = tempfile::tempdir().expect("a directory");
        Book::open(dir.path()).tell(What::UpStarted, About::cluster(), "one");
        let [present, _] = files(dir.path());
        let mut file = OpenOptions::new()
            .append(true)
            .open(present)
            .expect("there");
        file.write_all(b"{\"id\":2,\"ti").expect("written");
        Book::open(dir.path()).tell(What::UpFinished, About::cluster(), "two");
        let events = read(dir.path());
        let told: Vec<_> = events.iter().map(|event| (event.id, event.kind)).collect();
        assert_eq!(told, [(1, What::UpStarted), (2, What::UpFinished)]);
    }

    #[test]
    fn nothing_is_written_into_a_directory_that_is_being_removed() {
        let dir = tempfile::tempdir().expect("a directory");
        let book = Book::open(dir.path());
        book.close();
        book.tell(What::DownStarted, About::cluster(), "one");
        assert_eq!(messages(dir.path()), Vec::<String>::new());
        book.open_again();
        book.tell(What::DownFailed, About::cluster(), "two");
        assert_eq!(messages(dir.path()), ["one", "two"]);
    }

    #[test]
    fn a_state_is_told_once_also_by_the_next_keeper() {
        let dir = tempfile::tempdir().expect("a directory");
        let kubelet = About::component("w-1", "kubelet");
        let book = Book::open(dir.path());
        let times = ["2026-11-21T12:00:00Z", "2026-11-21T12:00:01.5Z"].map(at);
        book.tell_state(times[0], What::ComponentReady, kubelet.clone(), "a");
        book.tell_state(times[0], What::ComponentReady, kubelet.clone(), "again");
        let next = Book::open(dir.path());
        next.tell_state(times[0], What::ComponentReady, kubelet.clone(), "again");
        next.tell_state(times[1], What::ComponentCrashed, kubelet, "b");
        let older = About::component("w-1", "containerd");
        next.tell_state(
            at("2026-11-21T11:00:00Z"),
            What::ComponentReady,
            older,
            "older than the story",
        );
        assert_eq!(messages(dir.path()), ["a", "b"]);
        assert_eq!(read(dir.path())[1].time, "2026-11-21T12:00:01.500Z");
    }

    #[test]
    fn the_story_is_bounded_and_keeps_its_end() {
        let dir = tempfile::tempdir().expect("a directory");
        let book = Book::open(dir.path());
        let long = "x".repeat(1000);
        for _ in 0..2000 {
            book.tell(What::Changed, About::cluster(), &*long);
        }
        let size: u64 = files(dir.path())
            .iter()
            .map(|file| fs::metadata(file).expect("there").len())
            .sum();
        assert!(size <= 2 * FULL, "{size}");
        let ids: Vec<u64> = read(dir.path()).iter().map(|event| event.id).collect();
        assert_eq!(ids.last(), Some(&2000));
        assert!(ids.len() > 500 && ids.windows(2).all(|pair| pair[1] == pair[0] + 1));
    }
}
