//! What clients send, on its way to whoever takes it: one queue a channel, and how much a client may still send.
//!
//! russh opens a channel's window again when data has arrived, not when somebody has taken it, and would otherwise let a
//! full queue halt the whole connection: then `cat` could never return what it was sent, and a command that does not
//! read its input would freeze all others of the connection. So the queues here do not block, and windows are kept
//! narrow instead, through the one thing russh asks for: the size of the next window, whosever that will be
//! ([`russh::server::Handler::adjust_window`]).
//!
//! ```text
//!  normal:   every window is WIDE; russh opens it again at the half
//!  a queue holds more than FULL ──► NARROW: its client is let through two bytes at a time, each held for a moment,
//!                                   and so stands still
//!  another channel's window is used up meanwhile ──► it is hungry: it gets two bytes too, and comes after the same
//!                                   channel from then on, as each answers what it was sent in turn; when that one has
//!                                   come again, the next window is WIDE
//!  taken again ──► the next two bytes open the window WIDE
//! ```
//! A queue thus holds FULL and a window and a half. Where channels come and go, a full one may get what was meant for
//! another now and then; at the LIMIT the connection waits for it, whatever else it carries.
//!
//! When a channel is closed, its queue ends, but what is in it may still be taken: a client says that it is done before
//! everything has arrived.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use russh::ChannelId;
use tokio::sync::{Notify, mpsc, watch};

/// The window of a channel, in bytes.
pub(crate) const WIDE: u32 = 1024 * 1024;
/// The smallest one that russh ever opens again.
const NARROW: u32 = 2;
/// What may wait in a queue before its client is slowed down, in bytes.
const FULL: usize = 512 * 1024;
/// What no queue holds more than, in bytes.
const LIMIT: usize = 16 * 1024 * 1024;
/// How long each two bytes of a full queue hold the connection up.
const HOLD: Duration = Duration::from_millis(10);
/// How often a hungry channel is fed two bytes before it gets more whoever else comes.
const MEALS: u32 = 16;
/// Channels that one connection may have.
const MOST: usize = 1024;

/// What arrives in a channel.
#[derive(Debug)]
pub(crate) enum Input {
    /// Bytes.
    Data(Bytes),
    /// The client sends no more.
    End,
}

/// What both sides of a queue know.
#[derive(Debug, Default)]
struct Level {
    /// Bytes in it.
    waiting: AtomicUsize,
    /// Told when there are fewer.
    taken: Notify,
}

impl Level {
    fn get(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// The taker's side of a queue.
#[derive(Debug)]
pub(crate) struct Inbound {
    queue: mpsc::UnboundedReceiver<Input>,
    level: Arc<Level>,
}

impl Inbound {
    /// The next piece, `None` when the channel is closed and everything was taken.
    pub(crate) async fn take(&mut self) -> Option<Input> {
        let input = self.queue.recv().await?;
        if let Input::Data(data) = &input {
            self.level.waiting.fetch_sub(data.len(), Ordering::Relaxed);
            self.level.taken.notify_one();
        }
        Some(input)
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        // Nobody takes what is left, so it does not count.
        self.queue.close();
        self.level.waiting.store(0, Ordering::Relaxed);
        self.level.taken.notify_one();
    }
}

/// Tells whoever serves a channel that it is closed.
#[derive(Debug, Clone)]
pub(crate) struct Closed(watch::Receiver<()>);

impl Closed {
    /// Resolves when the client closed the channel, or is gone.
    pub(crate) async fn wait(&mut self) {
        // Nothing is ever sent: the error is that the other side is gone.
        while self.0.changed().await.is_ok() {}
    }
}

struct Channel {
    queue: mpsc::UnboundedSender<Input>,
    level: Arc<Level>,
    /// Until they are adopted.
    ends: Option<(Inbound, Closed)>,
    /// How often it was fed two bytes while others are full.
    meals: u32,
    /// After whom it came when it was fed.
    after: Option<ChannelId>,
    _open: watch::Sender<()>,
}

impl Channel {
    fn new() -> Self {
        let (queue, receiver) = mpsc::unbounded_channel();
        let (open, closed) = watch::channel(());
        let level = Arc::<Level>::default();
        let inbound = Inbound {
            queue: receiver,
            level: level.clone(),
        };
        Self {
            queue,
            level,
            ends: Some((inbound, Closed(closed))),
            meals: 0,
            after: None,
            _open: open,
        }
    }

    fn is_full(&self) -> bool {
        self.level.get() > FULL
    }
}

/// All channels of one connection.
#[derive(Default)]
pub(crate) struct Channels {
    channels: Mutex<HashMap<ChannelId, Channel>>,
    /// Whose window was opened last.
    last: Mutex<Option<ChannelId>>,
}

impl Channels {
    fn lock(&self) -> MutexGuard<'_, HashMap<ChannelId, Channel>> {
        // Every change of the map is one call: it is whole even if a holder panicked.
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the queue of a new channel; false when there are too many.
    pub(crate) fn open(&self, id: ChannelId) -> bool {
        let mut channels = self.lock();
        if channels.len() >= MOST {
            return false;
        }
        channels.entry(id).or_insert_with(Channel::new);
        true
    }

    /// The taker's side of a channel, once.
    pub(crate) fn adopt(&self, id: ChannelId) -> Option<(Inbound, Closed)> {
        let mut channels = self.lock();
        channels.entry(id).or_insert_with(Channel::new).ends.take()
    }

    /// Forgets a channel, and tells who serves it.
    pub(crate) fn close(&self, id: ChannelId) {
        self.lock().remove(&id);
    }

    /// Forgets all.
    pub(crate) fn close_all(&self) {
        self.lock().clear();
    }

    /// Puts what arrived into its queue, and waits where more must not arrive now.
    pub(crate) async fn put(&self, id: ChannelId, input: Input) {
        let Some(level) = self.enqueue(id, input) else {
            return;
        };
        tokio::time::sleep(HOLD).await;
        while level.get() > LIMIT {
            level.taken.notified().await;
        }
    }

    /// Puts it into the queue; returns the queue's level when the connection has to be held.
    fn enqueue(&self, id: ChannelId, input: Input) -> Option<Arc<Level>> {
        let channels = self.lock();
        let channel = channels.get(&id)?;
        let length = match &input {
            Input::Data(data) => data.len(),
            Input::End => 0,
        };
        channel.level.waiting.fetch_add(length, Ordering::Relaxed);
        if channel.queue.send(input).is_err() {
            channel.level.waiting.store(0, Ordering::Relaxed);
            return None;
        }
        let narrow = channel.is_full() && length > 0 && length <= NARROW as usize;
        (narrow || channel.level.get() > LIMIT).then(|| channel.level.clone())
    }

    /// The size of the next window that is opened again. `current` is the one that was just opened, for `id`.
    pub(crate) fn next_window(&self, id: ChannelId, current: u32) -> u32 {
        let last = self.last.lock();
        let last = last.unwrap_or_else(PoisonError::into_inner).replace(id);
        let mut channels = self.lock();
        if !channels.values().any(Channel::is_full) {
            return WIDE;
        }
        let others_turn = channels
            .iter()
            .any(|(other, channel)| *other != id && channel.meals > 0 && channel.after == Some(id));
        let Some(channel) = channels.get_mut(&id) else {
            return NARROW;
        };
        if current != NARROW {
            (channel.meals, channel.after) = (0, None);
            return NARROW;
        }
        if others_turn {
            return WIDE;
        }
        if channel.is_full() {
            return NARROW;
        }
        (channel.meals, channel.after) = (channel.meals + 1, last);
        // Twice in a row: nobody else comes.
        if last == Some(id) || channel.meals > MEALS {
            WIDE
        } else {
            NARROW
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use russh::keys::ssh_encoding::Decode as _;

    /// Two channels, as russh numbers them.
    fn two() -> (Channels, ChannelId, ChannelId) {
        let (channels, one, two) = (Channels::default(), id(1), id(2));
        assert!(channels.open(one) && channels.open(two));
        (channels, one, two)
    }

    fn id(number: u32) -> ChannelId {
        ChannelId::decode(&mut &number.to_be_bytes()[..]).unwrap()
    }

    fn data(length: usize) -> Input {
        Input::Data(Bytes::from(vec![0; length]))
    }

    #[tokio::test]
    async fn a_full_queue_narrows_the_windows_and_others_are_fed_while_it_is_held() {
        let (channels, full, other) = two();
        let (mut inbound, _) = channels.adopt(full).unwrap();
        assert!(channels.enqueue(full, data(FULL + 1)).is_none());
        assert_eq!(channels.next_window(full, WIDE), NARROW);
        assert!(
            channels.enqueue(full, data(2)).is_some(),
            "its two bytes are held"
        );
        assert_eq!(channels.next_window(full, NARROW), NARROW);
        // The other one has used its window up, and comes after the full one from now on.
        assert_eq!(channels.next_window(other, NARROW), NARROW);
        assert_eq!(channels.next_window(full, NARROW), WIDE);
        assert_eq!(channels.next_window(other, WIDE), NARROW);
        assert_eq!(channels.next_window(full, NARROW), NARROW);
        // Taken: all is as before.
        inbound.take().await;
        inbound.take().await;
        assert_eq!(channels.next_window(full, NARROW), WIDE);
        assert_eq!(channels.next_window(other, WIDE), WIDE);
    }

    #[test]
    fn nobody_starves_beside_a_full_queue_whose_client_is_silent() {
        let (channels, full, other) = two();
        let _taker = channels.adopt(full).unwrap();
        channels.enqueue(full, data(FULL + 1));
        assert_eq!(channels.next_window(other, NARROW), NARROW);
        assert_eq!(channels.next_window(other, NARROW), WIDE);
    }

    #[test]
    fn who_comes_after_whom_decides_among_several() {
        let (channels, one, two) = two();
        let (three, hungry) = (id(3), id(4));
        let takers = [one, two, three].map(|id| {
            assert!(channels.open(id));
            let taker = channels.adopt(id);
            channels.enqueue(id, data(FULL + 1));
            taker
        });
        assert!(channels.open(hungry));
        let round = [one, two, hungry, three];
        let windows: Vec<u32> = round
            .into_iter()
            .cycle()
            .take(6)
            .map(|id| channels.next_window(id, NARROW))
            .collect();
        assert_eq!(windows, [NARROW, NARROW, NARROW, NARROW, NARROW, WIDE]);
        assert_eq!(channels.next_window(hungry, WIDE), NARROW);
        drop(takers);
    }

    #[tokio::test]
    async fn at_the_limit_the_connection_waits_for_the_taker() {
        let (channels, id, _) = two();
        let (mut inbound, _) = channels.adopt(id).unwrap();
        channels.put(id, data(LIMIT)).await;
        let put = channels.put(id, data(3));
        tokio::pin!(put);
        tokio::select! {
            biased;
            () = &mut put => panic!("it did not wait"),
            _ = async { tokio::time::sleep(2 * HOLD).await } => {}
        }
        inbound.take().await;
        put.await;
    }

    #[tokio::test]
    async fn what_is_in_a_closed_channel_may_still_be_taken() {
        let (channels, id, _) = two();
        let (mut inbound, mut closed) = channels.adopt(id).unwrap();
        assert!(channels.adopt(id).is_none());
        channels.put(id, data(3)).await;
        channels.put(id, Input::End).await;
        channels.close(id);
        closed.wait().await;
        assert!(matches!(inbound.take().await, Some(Input::Data(_))));
        assert!(matches!(inbound.take().await, Some(Input::End)));
        assert!(inbound.take().await.is_none());
    }

    #[test]
    fn what_nobody_takes_does_not_count() {
        let (channels, id, _) = two();
        drop(channels.adopt(id));
        assert!(channels.enqueue(id, data(LIMIT + 1)).is_none());
        assert_eq!(channels.next_window(id, WIDE), WIDE);
    }
}
