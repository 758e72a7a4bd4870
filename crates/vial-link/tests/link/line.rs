//! Both ends over a pair of sockets, and over one that is cut, filled and delayed in between.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use vial_link::{Host, OpenError, Opener, Target};

use crate::guest::{Guest, echo};

/// A session whose streams go on by themselves.
async fn session(line: UnixStream) -> Opener {
    let (told, opener) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let mut host = Host::new(line);
        let (opener, carried) = host.session().await.unwrap();
        let _ = told.send(opener);
        carried.await;
    });
    opener.await.unwrap()
}

/// Says something and hears it again.
async fn converse(opener: &Opener, target: &Target) {
    let mut stream = opener.open(target).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"hello");
}

#[tokio::test]
async fn agent_sockets_and_addresses_are_reached() {
    let guest = Guest::start();
    let opener = session(guest.meet()).await;
    converse(&opener, &Target::Agent).await;
    converse(&opener, &Target::Unix(guest.socket())).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { echo(listener.accept().await.unwrap().0).await });
    converse(&opener, &Target::Tcp(address)).await;
}

#[tokio::test]
async fn what_cannot_be_reached_is_told_in_the_guests_words() {
    let guest = Guest::start();
    let opener = session(guest.meet()).await;
    let missing = Target::Unix("/run/nobody.sock".into());
    let error = opener.open(&missing).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the guest cannot reach unix /run/nobody.sock: No such file or directory (os error 2)"
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = Target::Tcp(listener.local_addr().unwrap());
    drop(listener);
    let error = opener.open(&closed).await.unwrap_err();
    assert!(matches!(error, OpenError::Refused { .. }), "{error:?}");
    // Others go on.
    converse(&opener, &Target::Agent).await;
}

#[tokio::test]
async fn a_line_that_names_nothing_is_answered() {
    let guest = Guest::start();
    let opener = session(guest.meet()).await;
    let mut stream = opener.stream().await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("error \"GET / HTTP/1.1\" is no kind"),
        "{answer}"
    );
    // One without an end is cut.
    let mut stream = opener.stream().await.unwrap();
    stream.write_all(&[b'x'; 4096]).await.unwrap();
    assert!(stream.read_u8().await.is_err());
    converse(&opener, &Target::Agent).await;
}

#[tokio::test]
async fn each_direction_ends_by_itself() {
    let guest = Guest::start();
    let opener = session(guest.meet()).await;
    let socket = guest.path("half.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let inside = tokio::spawn(async move {
        let mut socket = listener.accept().await.unwrap().0;
        socket.write_all(b"all I say").await.unwrap();
        socket.shutdown().await.unwrap();
        let mut heard = String::new();
        socket.read_to_string(&mut heard).await.unwrap();
        heard
    });
    let mut stream = opener.open(&Target::Unix(socket)).await.unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "all I say");
    stream
        .write_all(b"my answer, after your end")
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(inside.await.unwrap(), "my answer, after your end");
}

#[tokio::test]
async fn a_side_that_goes_away_is_noticed_by_the_other() {
    let guest = Guest::start();
    let opener = session(guest.meet()).await;
    let socket = guest.path("talker.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    // It talks for ever, and ends only by an error. The host has ended its own direction before it goes.
    let talker = tokio::spawn(async move {
        let mut socket = listener.accept().await.unwrap().0;
        while socket.write_all(&[b'.'; 1000]).await.is_ok() {}
    });
    let mut stream = opener.open(&Target::Unix(socket)).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'.');
    drop(stream);
    talker.await.unwrap();

    // The other way round: the guest's side is cut while the host waits.
    let socket = guest.path("mayfly.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let mut stream = opener.open(&Target::Unix(socket)).await.unwrap();
    drop(listener.accept().await.unwrap());
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await.unwrap();
    assert!(heard.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gigabyte_passes_whole() {
    const BLOCK: usize = 1 << 16;
    const BLOCKS: u64 = (1 << 30) / BLOCK as u64;
    /// Numbered, so that nothing can be swapped or lost unseen.
    fn block(number: u64) -> Vec<u8> {
        number.to_le_bytes().repeat(BLOCK / 8)
    }
    let guest = Guest::start();
    let opener = session(guest.meet()).await;
    let stream = opener.open(&Target::Unix(guest.socket())).await.unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    let writing = tokio::spawn(async move {
        for number in 0..BLOCKS {
            write.write_all(&block(number)).await.unwrap();
        }
        write.shutdown().await.unwrap();
    });
    let mut heard = vec![0; BLOCK];
    for number in 0..BLOCKS {
        read.read_exact(&mut heard).await.unwrap();
        assert!(heard == block(number), "block {number} is another one");
    }
    assert_eq!(read.read(&mut heard).await.unwrap(), 0);
    writing.await.unwrap();
}

#[tokio::test]
async fn five_hundred_at_once_some_of_which_do_not_read() {
    let guest = Guest::start();
    let opener = session(guest.meet()).await;
    // The first hundred fill all that is between them and the other end, and stop.
    let mut stopped = Vec::new();
    for _ in 0..100 {
        let mut stream = opener.open(&Target::Agent).await.unwrap();
        let full = async { while stream.write_all(&[0; 65536]).await.is_ok() {} };
        assert!(
            tokio::time::timeout(Duration::from_millis(20), full)
                .await
                .is_err(),
            "a stream takes without end"
        );
        stopped.push(stream);
    }
    let mut others = tokio::task::JoinSet::new();
    let everybody = Arc::new(tokio::sync::Barrier::new(400));
    for number in 0..400_u32 {
        let (opener, everybody) = (opener.clone(), everybody.clone());
        let target = match number % 2 {
            0 => Target::Agent,
            _ => Target::Unix(guest.socket()),
        };
        others.spawn(async move {
            let mut stream = opener.open(&target).await.unwrap();
            everybody.wait().await;
            let said = number.to_le_bytes().repeat(10_000);
            let (mut read, mut write) = tokio::io::split(&mut stream);
            let mut heard = vec![0; said.len()];
            let (wrote, heard_all) =
                tokio::join!(write.write_all(&said), read.read_exact(&mut heard));
            wrote.unwrap();
            heard_all.unwrap();
            assert_eq!(heard, said, "{number}");
        });
    }
    others.join_all().await;
    drop(stopped);
    converse(&opener, &Target::Agent).await;
}

#[tokio::test]
async fn the_next_host_meets_the_guest_again() {
    let guest = Guest::start();
    for _ in 0..3 {
        let opener = session(guest.meet()).await;
        converse(&opener, &Target::Agent).await;
        let mut left = opener.open(&Target::Agent).await.unwrap();
        left.write_all(b"half a sent").await.unwrap();
    }
}

/// What virtio-console does at its worst: one pipe to the guest that never tells of the change of hosts, in which all
/// stays that was on the way, also the beginning of a frame.
#[tokio::test]
async fn a_guest_that_does_not_see_the_host_change_is_met_by_the_next() {
    let guest = Guest::start();
    let mut port = guest.meet();
    for cut in (1..120_000).step_by(3777) {
        let (line, mut qemu) = UnixStream::pair().unwrap();
        let killed = tokio::spawn(async move {
            let opener = session(line).await;
            let mut stream = opener.open(&Target::Agent).await?;
            loop {
                stream
                    .write_all(&[0xab; 10_000])
                    .await
                    .map_err(OpenError::Lost)?;
            }
            #[expect(unreachable_code, reason = "it says what the block gives")]
            Ok::<(), OpenError>(())
        });
        // So much comes through before the host is killed, whatever it is in the middle of.
        let (mut from_guest, mut to_guest) = port.split();
        let (from_host, mut to_host) = qemu.split();
        let through = async {
            let mut some = from_host.take(32_000 + cut);
            tokio::io::copy(&mut some, &mut to_guest).await.unwrap();
        };
        tokio::select! {
            () = through => {}
            _ = tokio::io::copy(&mut from_guest, &mut to_host) => {}
        }
        killed.abort();
        drop(qemu);
    }
    let opener = session(port).await;
    converse(&opener, &Target::Agent).await;
}

#[tokio::test]
async fn noise_of_either_side_ends_the_session_only() {
    let guest = Guest::start();
    let mut port = guest.meet();
    for noise in [&b"\xff\xff\xff\xff\xff"[..], &[0; 100], b"\0vial-link/1\0C"] {
        // To the guest, which nobody has called yet; then in the middle of a session.
        port.write_all(noise).await.unwrap();
        let (line, mut qemu) = UnixStream::pair().unwrap();
        let mut host = Host::new(line);
        let mut heard = Vec::new();
        {
            let proxied = async {
                tokio::io::copy_bidirectional(&mut qemu, &mut port)
                    .await
                    .unwrap();
            };
            let session = async {
                let (opener, carried) = host.session().await.unwrap();
                tokio::select! {
                    () = carried => panic!("the session is over too early"),
                    () = converse(&opener, &Target::Agent) => {}
                }
            };
            tokio::select! {
                () = proxied => panic!("the line has ended"),
                () = session => {}
            }
        }
        // Left of the session, on its way to a host that is not there any more.
        let _ = port.try_read_buf(&mut heard);
    }
}
