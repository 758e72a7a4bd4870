//! The client against a real QEMU, and against one that misbehaves.

use std::os::unix::fs::FileTypeExt as _;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixListener;

use super::*;

/// A machine without anything in it.
struct Machine {
    directory: tempfile::TempDir,
    qemu: tokio::process::Child,
}

impl Machine {
    /// `None`: there is no QEMU, and the test is skipped.
    async fn start(arguments: &[&str]) -> Option<Self> {
        let program = crate::testing::program()?;
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("qmp.sock");
        let qemu = program
            .command()
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-S"])
            .args(["-accel", "tcg"])
            .args(arguments)
            .arg("-qmp")
            .arg(format!("unix:{},server=on,wait=off", socket.display()))
            .spawn()
            .unwrap();
        let machine = Self { directory, qemu };
        // QEMU tells nobody when it listens.
        while !machine
            .socket()
            .metadata()
            .is_ok_and(|found| found.file_type().is_socket())
            || UnixStream::connect(machine.socket()).await.is_err()
        {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Some(machine)
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("qmp.sock")
    }

    async fn qmp(&self) -> Qmp {
        Qmp::connect(&self.socket()).await.unwrap()
    }
}

#[tokio::test]
async fn a_machine_is_asked_and_commanded() {
    let Some(mut machine) = Machine::start(&["-machine", "pc", "-m", "32", "-smp", "2"]).await
    else {
        return;
    };
    let qmp = machine.qmp().await;
    assert!(qmp.version().major >= 7, "{:?}", qmp.version());
    let mut events = qmp.events();
    let status = qmp.status().await.unwrap();
    assert_eq!(
        (status.running, status.status),
        (false, RunState::Prelaunch)
    );
    assert_eq!(qmp.memory().await.unwrap().base_memory, 32 << 20);
    let cpus = qmp.cpus().await.unwrap();
    assert_eq!(
        cpus.iter().map(|cpu| cpu.cpu_index).collect::<Vec<_>>(),
        [0, 1]
    );

    qmp.cont().await.unwrap();
    assert_eq!(events.next().await.unwrap().kind, EventKind::Resume);
    assert_eq!(qmp.status().await.unwrap().status, RunState::Running);
    qmp.stop().await.unwrap();
    assert_eq!(events.next().await.unwrap().kind, EventKind::Stop);
    assert_eq!(qmp.status().await.unwrap().status, RunState::Paused);
    qmp.system_powerdown().await.unwrap();
    assert_eq!(events.next().await.unwrap().kind, EventKind::Powerdown);
    qmp.system_reset().await.unwrap();
    let reset = EventKind::Reset(ShutdownReason::SystemReset);
    assert_eq!(events.next().await.unwrap().kind, reset);

    qmp.quit().await.unwrap();
    let shutdown = EventKind::Shutdown(ShutdownReason::Quit);
    assert_eq!(events.next().await.unwrap().kind, shutdown);
    assert!(machine.qemu.wait().await.unwrap().success());
    assert_eq!(events.next().await, None);
    let gone = qmp.status().await.unwrap_err();
    assert!(matches!(gone, QmpError::Gone { .. }), "{gone:?}");
}

#[tokio::test]
async fn a_refusal_is_in_qemus_words() {
    let Some(machine) = Machine::start(&["-machine", "none"]).await else {
        return;
    };
    let qmp = machine.qmp().await;
    let error = qmp.balloon().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "QEMU refuses query-balloon: No balloon device has been activated"
    );
    let error = qmp.execute("make-coffee", json!({})).await.unwrap_err();
    let QmpError::Refused { class, text, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(class, "CommandNotFound");
    assert!(text.contains("make-coffee"), "{text}");
    // It has no display either.
    let error = qmp.screendump().await;
    assert!(matches!(error, Err(QmpError::Refused { .. })), "{error:?}");
}

#[tokio::test]
async fn a_picture_of_the_display_is_written() {
    let Some(machine) = Machine::start(&["-machine", "pc", "-m", "32", "-vga", "std"]).await else {
        return;
    };
    let qmp = machine.qmp().await;
    for _ in 0..2 {
        let picture = qmp.screendump().await.unwrap();
        assert_eq!(&picture[..8], b"\x89PNG\r\n\x1a\n");
        assert_eq!(&picture[picture.len() - 8..][..4], b"IEND");
    }
    // QEMU keeps no descriptor. (Of a set it keeps the number: its writer of PNG closes what it was given behind its back.)
    let sets = qmp.execute("query-fdsets", json!({})).await.unwrap();
    let mut sets = sets.as_array().expect("a list").iter();
    assert!(sets.all(|set| set["fds"] == json!([])), "{sets:?}");
}

#[tokio::test]
async fn answers_come_to_who_asked() {
    let Some(machine) = Machine::start(&["-machine", "pc", "-m", "32"]).await else {
        return;
    };
    let qmp = machine.qmp().await;
    let mut asked = tokio::task::JoinSet::new();
    for number in 0..50 {
        let qmp = qmp.clone();
        asked.spawn(async move {
            match number % 2 {
                0 => assert_eq!(qmp.memory().await.unwrap().base_memory, 32 << 20),
                _ => assert_eq!(qmp.cpus().await.unwrap().len(), 1),
            }
        });
    }
    asked.join_all().await;
}

/// Something that listens, and says `first` to whoever comes.
async fn impostor(first: &'static [u8]) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("qmp.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(first).await.unwrap();
        // Stays, and answers nothing, until the other side leaves.
        let _ = tokio::io::copy(&mut socket, &mut tokio::io::sink()).await;
    });
    (directory, path)
}

#[tokio::test]
async fn who_is_no_qemu_is_told_from_one() {
    let (_directory, path) = impostor(b"220 mail ESMTP\n").await;
    let error = Qmp::connect(&path).await.unwrap_err();
    assert!(matches!(error, QmpError::Greeting { .. }), "{error:?}");
    let error = Qmp::connect(Path::new("/nonexistent/qmp.sock")).await;
    let error = error.unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot connect to QEMU at /nonexistent/qmp.sock"
    );
}

#[tokio::test(start_paused = true)]
async fn one_that_hangs_is_not_waited_for_without_end() {
    let (_directory, path) = impostor(b"").await;
    let error = Qmp::connect(&path).await.unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("another client may be connected"),
        "{error}"
    );
    let greeting = br#"{"QMP": {"version": {"qemu": {"micro": 0, "minor": 0, "major": 10}}, "capabilities": []}}
"#;
    let (_directory, path) = impostor(greeting).await;
    let error = Qmp::connect(&path).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "QEMU does not answer qmp_capabilities within 10 s"
    );
}
