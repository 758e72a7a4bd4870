//! Commands: their streams, terminals, signals, codes, and what is left of them.

use std::pin::Pin;

use futures::stream::{self, Stream};
use tokio::io::{
    AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream,
};
use tokio::task::JoinHandle;
use tokio_stream::StreamExt as _;
use tonic::Code;
use vial_rpc::exec::{Control, ExecError};
use vial_rpc::{ExecStart, TerminalSize};

use crate::lab::Lab;

const SIZE: TerminalSize = TerminalSize {
    columns: 101,
    rows: 37,
};

fn start(script: &str, tty: bool) -> ExecStart {
    ExecStart {
        argv: vec!["sh".into(), "-c".into(), script.into()],
        tty,
        size: Some(SIZE),
        ..Default::default()
    }
}

/// A command that is spoken with.
struct Talk {
    stdin: Option<DuplexStream>,
    stdout: BufReader<DuplexStream>,
    controls: tokio::sync::mpsc::UnboundedSender<Control>,
    task: JoinHandle<Result<i32, ExecError>>,
}

impl Talk {
    fn new(lab: &Lab, start: ExecStart) -> Self {
        let (stdin, its_stdin) = tokio::io::duplex(4096);
        let (its_stdout, stdout) = tokio::io::duplex(4096);
        let (controls, queue) = tokio::sync::mpsc::unbounded_channel();
        let queue: Pin<Box<dyn Stream<Item = Control> + Send>> =
            Box::pin(stream::unfold(queue, |mut queue| async {
                Some((queue.recv().await?, queue))
            }));
        let channel = lab.channel.clone();
        let task = tokio::spawn(async move {
            vial_rpc::exec_interactive(
                channel,
                start,
                its_stdin,
                its_stdout,
                tokio::io::sink(),
                queue,
            )
            .await
        });
        Self {
            stdin: Some(stdin),
            stdout: BufReader::new(stdout),
            controls,
            task,
        }
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).await.unwrap();
        line.trim_end().to_string()
    }

    async fn say(&mut self, text: &str) {
        self.stdin
            .as_mut()
            .unwrap()
            .write_all(text.as_bytes())
            .await
            .unwrap();
    }

    async fn code(mut self) -> i32 {
        let mut rest = Vec::new();
        self.stdout.read_to_end(&mut rest).await.unwrap();
        self.task.await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn codes_and_both_outputs_come_back() {
    let lab = Lab::new().await;
    let output = lab.run("echo out; echo err >&2; exit 42").await;
    assert_eq!(
        (output.stdout, output.stderr, output.code),
        (b"out\n".into(), b"err\n".into(), 42)
    );
    assert_eq!(lab.run("kill -9 $$").await.code, 137);
    assert_eq!(lab.run("true").await.code, 0);
}

#[tokio::test]
async fn what_is_no_program_cannot_be_executed() {
    let lab = Lab::new().await;
    for argv in ["/etc/passwd", "/etc"] {
        let output = vial_rpc::exec_collect(lab.channel.clone(), [argv], b"")
            .await
            .unwrap();
        assert_eq!(output.code, 126, "{argv}");
    }
}

#[tokio::test]
async fn what_cannot_start_ends_like_in_a_shell() {
    let lab = Lab::new().await;
    let output = vial_rpc::exec_collect(lab.channel.clone(), ["no-such-program"], b"")
        .await
        .unwrap();
    assert_eq!(output.code, 127);
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .starts_with("no-such-program: no such program in /")
    );
    let refused = |start| {
        vial_rpc::exec_interactive(
            lab.channel.clone(),
            start,
            tokio::io::empty(),
            tokio::io::sink(),
            tokio::io::sink(),
            stream::empty(),
        )
    };
    for wrong in [
        ExecStart::default(),
        ExecStart {
            user: "nobody-of-that-name".into(),
            ..start("true", false)
        },
        ExecStart {
            cwd: "/no/such/directory".into(),
            ..start("true", false)
        },
    ] {
        let Err(ExecError::Refused { source, .. }) = refused(wrong.clone()).await else {
            panic!("{wrong:?}")
        };
        assert_eq!(source.code(), Code::InvalidArgument, "{source}");
    }
}

#[tokio::test]
async fn ten_megabytes_pass_through_unharmed() {
    let lab = Lab::new().await;
    let data: Vec<u8> = (0..10_000_000_u32)
        .map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let output = vial_rpc::exec_collect(lab.channel.clone(), ["cat"], &data)
        .await
        .unwrap();
    assert_eq!(output.code, 0);
    assert!(
        output.stdout == data,
        "{} bytes came back",
        output.stdout.len()
    );
}

#[tokio::test]
async fn stdin_that_nobody_reads_harms_nobody() {
    let lab = Lab::new().await;
    let data = vec![b'x'; 10_000_000];
    let output = vial_rpc::exec_collect(
        lab.channel.clone(),
        ["sh", "-c", "head -c 3; exit 5"],
        &data,
    )
    .await
    .unwrap();
    assert_eq!((output.stdout, output.code), (b"xxx".into(), 5));
}

#[tokio::test]
async fn all_that_was_said_before_the_end_arrives() {
    let lab = Lab::new().await;
    for _ in 0..30 {
        let output = lab
            .run("head -c 60000 /dev/zero; head -c 60000 /dev/zero >&2")
            .await;
        assert_eq!((output.stdout.len(), output.stderr.len()), (60_000, 60_000));
    }
}

#[tokio::test]
async fn a_background_child_does_not_hold_the_command() {
    let lab = Lab::new().await;
    let output = lab.run("sleep 100000 & echo $!; exit 3").await;
    assert_eq!(output.code, 3);
    let pid = String::from_utf8(output.stdout).unwrap().trim().to_string();
    assert!(
        std::path::Path::new(&format!("/proc/{pid}")).exists(),
        "it goes on"
    );
    lab.run(&format!("kill {pid}")).await;
}

#[tokio::test]
async fn a_chatty_background_child_does_not_hold_it_either() {
    let lab = Lab::new().await;
    let output = lab.run("echo begin; yes & echo $! >&2; exit 4").await;
    assert_eq!(output.code, 4);
    assert!(output.stdout.starts_with(b"begin\n"));
}

#[tokio::test]
async fn the_environment_is_the_users() {
    let lab = Lab::new().await;
    let mut command = start(
        "echo $HOME:$USER:$MINE; pwd; [ -t 0 ] || echo no terminal; [ -n \"$PATH$SHELL\" ]",
        false,
    );
    command.env.insert("MINE".into(), "yes".into());
    command.cwd = "/tmp".into();
    let mut talk = Talk::new(&lab, command);
    assert_eq!(
        [talk.line().await, talk.line().await, talk.line().await],
        ["/root:root:yes", "/tmp", "no terminal"]
    );
    assert_eq!(talk.code().await, 0);
}

#[tokio::test]
async fn a_command_can_be_somebody_else() {
    if !rustix::process::geteuid().is_root() {
        return vial_testing::skip("only root can become somebody else");
    }
    let lab = Lab::new().await;
    for tty in [false, true] {
        let command = ExecStart {
            user: "65534".into(),
            cwd: "/".into(),
            ..start("id -u; id -g; echo x >/root/x", tty)
        };
        let mut talk = Talk::new(&lab, command);
        assert_eq!([talk.line().await, talk.line().await], ["65534", "65534"]);
        assert_ne!(talk.code().await, 0, "what only root may do failed");
    }
}

#[tokio::test]
async fn a_terminal_has_a_size_that_can_change() {
    let lab = Lab::new().await;
    let script = "stty size; trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 100000 & wait; done";
    let mut talk = Talk::new(&lab, start(script, true));
    assert_eq!(talk.line().await, "37 101");
    assert_eq!(talk.line().await, "ready");
    talk.controls
        .send(Control::Resize(TerminalSize {
            columns: 80,
            rows: 24,
        }))
        .unwrap();
    assert_eq!(talk.line().await, "24 80");
    assert_eq!(talk.code().await, 0);
}

#[tokio::test]
async fn a_terminal_is_a_terminal() {
    let lab = Lab::new().await;
    let script = "[ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo terminal >/dev/tty; stty -echo; echo $TERM; read word; echo got $word; exit 6";
    let mut command = start(script, true);
    command.env.insert("TERM".into(), "vt100".into());
    let mut talk = Talk::new(&lab, command);
    assert_eq!(
        [talk.line().await, talk.line().await],
        ["terminal", "vt100"]
    );
    talk.say("hello\n").await;
    assert_eq!(talk.line().await, "got hello");
    assert_eq!(talk.code().await, 6);
}

#[tokio::test]
async fn the_end_of_stdin_reaches_a_terminal() {
    let lab = Lab::new().await;
    for text in ["whole line\n", "unfinished", ""] {
        let mut talk = Talk::new(
            &lab,
            start(
                "stty -echo; echo ready; cat >/dev/null; echo end; exit 2",
                true,
            ),
        );
        assert_eq!(talk.line().await, "ready");
        talk.say(text).await;
        talk.stdin = None;
        assert_eq!(talk.line().await, "end", "after {text:?}");
        assert_eq!(talk.code().await, 2);
    }
}

#[tokio::test]
async fn control_c_interrupts_what_is_in_the_foreground() {
    let lab = Lab::new().await;
    let mut talk = Talk::new(
        &lab,
        start(
            // The one to be interrupted says that it is there: dash forgets a trap that comes before it waits.
            "trap 'echo interrupted; exit 9' INT; sh -c 'echo ready; exec cat'; exit 1",
            true,
        ),
    );
    assert_eq!(talk.line().await, "ready");
    talk.say("\u{3}").await;
    assert!(talk.line().await.ends_with("interrupted"));
    assert_eq!(talk.code().await, 9);
}

#[tokio::test]
async fn signals_reach_with_and_without_a_terminal() {
    let lab = Lab::new().await;
    for tty in [false, true] {
        let mut talk = Talk::new(
            &lab,
            start(
                "trap 'exit 11' USR1; echo ready; while :; do sleep 100000 & wait; done",
                tty,
            ),
        );
        assert_eq!(talk.line().await, "ready");
        talk.controls.send(Control::Signal(10)).unwrap();
        assert_eq!(talk.code().await, 11, "tty: {tty}");
        let mut talk = Talk::new(&lab, start("echo ready; exec sleep 100000", tty));
        assert_eq!(talk.line().await, "ready");
        talk.controls.send(Control::Signal(15)).unwrap();
        assert_eq!(talk.code().await, 143, "tty: {tty}");
    }
}

#[tokio::test]
async fn when_the_client_goes_nothing_is_left() {
    let lab = Lab::new().await;
    for tty in [false, true] {
        // One that goes on at SIGHUP, one in the background with a process group of its own.
        let script = "trap '' HUP; sh -c 'echo $$; exec sleep 100000' & echo $$; while :; do sleep 100000; done";
        let mut talk = Talk::new(&lab, start(script, tty));
        let mut pids = [talk.line().await, talk.line().await];
        pids.sort();
        talk.task.abort();
        assert!(talk.task.await.unwrap_err().is_cancelled());
        let gone = pids
            .iter()
            .map(|pid| format!("[ ! -e /proc/{pid} ]"))
            .collect::<Vec<_>>()
            .join(" && ");
        let output = lab
            .run(&format!("until {gone}; do sleep 0.02; done; echo gone"))
            .await;
        assert_eq!(output.stdout, b"gone\n");
    }
}

#[tokio::test]
async fn a_slow_client_holds_the_command_and_not_the_memory() {
    let lab = Lab::new().await;
    let mut talk = Talk::new(&lab, start("seq 1 2000000; echo end", false));
    let mut lines = 0;
    let mut last = String::new();
    loop {
        let line = talk.line().await;
        if line.is_empty() {
            break;
        }
        lines += 1;
        last = line;
    }
    assert_eq!((lines, last.as_str()), (2_000_001, "end"));
    assert_eq!(talk.code().await, 0);
}

#[tokio::test]
async fn many_commands_at_once_do_not_mix() {
    let lab = Lab::new().await;
    let commands = (0..40).map(|number| {
        let channel = lab.channel.clone();
        tokio::spawn(async move {
            let script = format!("cat; echo {number}; exit {number}");
            vial_rpc::exec_collect(channel, ["sh", "-c", script.as_str()], b"in ")
                .await
                .unwrap()
        })
    });
    let mut commands = stream::iter(commands.collect::<Vec<_>>().into_iter().enumerate());
    while let Some((number, command)) = commands.next().await {
        let output = command.await.unwrap();
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            format!("in {number}\n")
        );
        assert_eq!(output.code, i32::try_from(number).unwrap());
    }
}
