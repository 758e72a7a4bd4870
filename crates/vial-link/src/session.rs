//! How streams share a session: HTTP/2 with limits that keep one stream from harming another.

/// What a stream may send before its reader takes it.
const STREAM_WINDOW: u32 = 512 * 1024;
/// What all streams may: so much that readers who have stopped, each with a full window, do not stop the others.
const SESSION_WINDOW: u32 = 1 << 30;
/// Streams at once; who wants one more waits. Together their windows are as large as the session's.
pub(crate) const STREAMS: u32 = SESSION_WINDOW / STREAM_WINDOW;
/// Streams of which one side has heard that they are gone and the other has not; the default is made for strangers.
const GONE: usize = 4 * STREAMS as usize;

/// The host opens streams.
pub(crate) fn client() -> h2::client::Builder {
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(SESSION_WINDOW)
        .max_concurrent_reset_streams(GONE)
        .max_pending_accept_reset_streams(GONE)
        .max_local_error_reset_streams(None)
        .data_frame_budget(SESSION_WINDOW as usize);
    builder
}

/// The guest takes them up.
pub(crate) fn server() -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(SESSION_WINDOW)
        .max_concurrent_streams(STREAMS)
        .max_concurrent_reset_streams(GONE)
        .max_pending_accept_reset_streams(GONE)
        .max_local_error_reset_streams(None)
        .data_frame_budget(SESSION_WINDOW as usize);
    builder
}
