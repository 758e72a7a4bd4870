//! Bytes between two connections: all of them arrive, each end is passed on by itself, a cut cuts.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// What sockets hold where a test wants them full; the kernel doubles it (socket(7)).
const SMALL: usize = 64 * 1024;

/// A client and a server that think they are connected to each other.
struct Pair {
    client: TcpStream,
    server: TcpStream,
    relay: JoinHandle<io::Result<()>>,
}

/// Both ends of a connection; `small` has buffers that are soon full.
fn connection(small: bool) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let one = TcpStream::connect(address).expect("connected");
    let (two, _) = listener.accept().expect("accepted");
    for socket in [&one, &two] {
        let patience = Some(Duration::from_secs(60));
        socket.set_read_timeout(patience).expect("set");
        socket.set_write_timeout(patience).expect("set");
        if small {
            rustix::net::sockopt::set_socket_recv_buffer_size(socket, SMALL).expect("set");
            rustix::net::sockopt::set_socket_send_buffer_size(socket, SMALL).expect("set");
        }
    }
    (one, two)
}

impl Pair {
    fn new(runtime: &Runtime, small: bool) -> Self {
        let (client, outer) = connection(small);
        let (inner, server) = connection(small);
        let _entered = runtime.enter();
        let [outer, inner] = [outer, inner].map(|socket| {
            socket.set_nonblocking(true).expect("set");
            tokio::net::TcpStream::from_std(socket).expect("a socket")
        });
        let relay = runtime.spawn(vial_net::relay(outer, inner));
        Self {
            client,
            server,
            relay,
        }
    }
}

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all();
    builder.build().expect("a runtime")
}

/// Bytes that differ from place to place and from seed to seed.
fn bytes(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn read_all(mut socket: &TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    socket.read_to_end(&mut all).expect("read");
    all
}

fn is_cut(mut socket: &TcpStream) -> bool {
    let read = socket.read_to_end(&mut Vec::new());
    read.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
}

/// By an RST.
fn cut(socket: TcpStream) {
    let at_once = Some(Duration::ZERO);
    rustix::net::sockopt::set_socket_linger(&socket, at_once).expect("set");
}

#[test]
fn each_end_is_passed_on_by_itself() {
    let runtime = runtime();
    let mut pair = Pair::new(&runtime, false);
    pair.client.write_all(b"question").expect("written");
    pair.client.shutdown(Shutdown::Write).expect("shut");
    assert_eq!(read_all(&pair.server), b"question");
    // The other way is still open.
    pair.server.write_all(b"answer").expect("written");
    drop(pair.server);
    assert_eq!(read_all(&pair.client), b"answer");
    let ended = runtime.block_on(pair.relay);
    ended.expect("no panic").expect("ended well");
}

#[test]
fn everything_arrives_both_ways_at_once() {
    let runtime = runtime();
    let pair = Pair::new(&runtime, false);
    let (there, back) = (bytes(40_000_000, 1), bytes(30_000_001, 2));
    let send = |mut socket: &TcpStream, bytes: &[u8]| {
        socket.write_all(bytes).expect("written");
        socket.shutdown(Shutdown::Write).expect("shut");
    };
    std::thread::scope(|scope| {
        scope.spawn(|| send(&pair.client, &there));
        scope.spawn(|| send(&pair.server, &back));
        let arrived = scope.spawn(|| read_all(&pair.server) == there);
        assert!(read_all(&pair.client) == back && arrived.join().expect("read"));
    });
    let ended = runtime.block_on(pair.relay);
    ended.expect("no panic").expect("ended well");
}

#[test]
fn a_cut_connection_cuts_the_other_even_after_an_end() {
    let runtime = runtime();
    let pair = Pair::new(&runtime, false);
    cut(pair.server);
    assert!(is_cut(&pair.client));
    let ended = runtime.block_on(pair.relay);
    ended.expect("no panic").expect_err("cut");

    // The client has said all it has to say, waits for an answer, and goes away.
    let mut pair = Pair::new(&runtime, false);
    pair.client.shutdown(Shutdown::Write).expect("shut");
    assert_eq!(read_all(&pair.server), b"");
    cut(pair.client);
    let ended = runtime.block_on(pair.relay);
    ended.expect("no panic").expect_err("cut");
    // The relay has ended, so its reset has arrived.
    pair.server.write_all(b"answer").expect_err("cut");
}

#[test]
fn writing_to_one_who_went_away_is_an_error_and_no_signal() {
    let runtime = runtime();
    let mut pair = Pair::new(&runtime, false);
    drop(pair.server);
    // EPIPE or ECONNRESET; a SIGPIPE would end the process (splice(2), signal(7)).
    while pair.client.write_all(&[0; 4096]).is_ok() {}
    let ended = runtime.block_on(pair.relay);
    ended.expect("no panic").expect_err("cut");
}

/// Writes until nobody takes any more; gives how much that was.
fn fill(mut socket: &TcpStream, bytes: &[u8]) -> usize {
    let soon = Some(Duration::from_millis(10));
    socket.set_write_timeout(soon).expect("set");
    let mut written = 0;
    while written < bytes.len() {
        match socket.write(&bytes[written..]) {
            Ok(more) => written += more,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    written
}

#[test]
fn slow_readers_hold_their_senders_back_and_lose_nothing_however_many_they_are() {
    let runtime = runtime();
    let bytes = bytes(2_000_000, 3);
    // More than there are pipes, and each sends something else.
    let many = 0..vial_net::PIPES + 50;
    let held_back = many.map(|number| {
        let (pair, wanted) = (Pair::new(&runtime, true), &bytes[number..]);
        let sent = &wanted[..fill(&pair.client, wanted)];
        assert!(sent.len() < wanted.len(), "all of it piled up somewhere");
        (pair, sent)
    });
    for (pair, sent) in held_back.collect::<Vec<_>>() {
        pair.client.shutdown(Shutdown::Write).expect("shut");
        assert!(read_all(&pair.server) == sent, "something else arrived");
        drop(pair.server);
        let ended = runtime.block_on(pair.relay);
        ended.expect("no panic").expect("ended well");
    }
}
