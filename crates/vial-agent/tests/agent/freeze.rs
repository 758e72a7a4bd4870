//! Components that are dumped: by a program called criu that does as the test wants, and by the real one where there is
//! one.

use std::path::PathBuf;

use tokio_stream::StreamExt as _;
use vial_rpc::component_status::State;
use vial_rpc::{Code, DumpCopy, DumpReply, DumpRequest, RestoreRequest, Status};

use crate::lab::Lab;

/// An agent that finds the script `criu` first; `$IMAGES` is the directory it is to dump to.
async fn lab_with_criu(script: &str) -> (Lab, tempfile::TempDir) {
    use std::os::unix::fs::PermissionsExt as _;
    let programs = tempfile::tempdir().unwrap();
    let criu = programs.path().join("criu");
    let images = r#"while [ "$1" != --images-dir ]; do shift; done; IMAGES=$2"#;
    std::fs::write(&criu, format!("#!/bin/sh\n{images}\n{script}\n")).unwrap();
    std::fs::set_permissions(&criu, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    let path = format!("PATH={}:{path}", programs.path().display());
    (Lab::with_launcher(&["env", &path]).await, programs)
}

/// Asks for a dump to `dump` with a copy of `disk`; the stream, and its one message.
async fn dump(
    lab: &Lab,
    hold: bool,
) -> (
    Option<vial_rpc::Streaming<DumpReply>>,
    Result<DumpReply, Status>,
) {
    let text = |path: PathBuf| path.to_str().unwrap().to_owned();
    let copy = DumpCopy {
        source: text(lab.path("disk")),
        name: "disk".into(),
    };
    let request = DumpRequest {
        directory: text(lab.path("dump")),
        copies: vec![copy],
        hold,
    };
    match lab.client().dump(request).await {
        Err(status) => (None, Err(status)),
        Ok(stream) => {
            let mut stream = stream.into_inner();
            let first = stream.next().await.expect("one message");
            (Some(stream), first)
        }
    }
}

/// The state of a process: `S`, `T`, …
fn state(pid: i32) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest.chars().take(1));
    state.map(String::from_iter).unwrap_or_default()
}

async fn until_state(pid: i32, halted: bool) {
    while (state(pid) == "T") != halted {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// Counts in a file as fast as it can.
const COUNT: &str = "n=0; while :; do n=$((n+1)); echo $n >$LAB/disk/count; done";

#[tokio::test]
async fn a_dump_is_of_one_moment_and_the_components_go_on() {
    // What the file is while CRIU works, and a little later.
    let script =
        "cd $IMAGES/../../disk && cp count $IMAGES/before && sleep 0.1 && cp count $IMAGES/after";
    let (lab, _programs) = lab_with_criu(script).await;
    std::fs::create_dir(lab.path("disk")).unwrap();
    std::fs::write(lab.path("disk/count"), "0").unwrap();
    lab.apply(lab.sh("counter", COUNT)).await;
    lab.wait_ready("counter").await;
    let (_, reply) = dump(&lab, false).await;
    assert!(reply.unwrap().halted_us >= 100_000);
    let copied = lab.text("dump/disks/disk/count");
    assert_eq!(lab.text("dump/counter/before"), copied);
    assert_eq!(lab.text("dump/counter/after"), copied);
    while lab.text("disk/count") == copied {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_is_dumped_is_told_copied_and_recorded() {
    let (lab, _programs) = lab_with_criu("touch $IMAGES/pages.img").await;
    std::fs::create_dir(lab.path("disk")).unwrap();
    lab.apply(lab.sh("counter", COUNT)).await;
    lab.apply(lab.sh("sleeper", "exec sleep 100000")).await;
    let pid = lab.wait_ready("counter").await.pid;
    lab.wait_ready("sleeper").await;
    std::fs::create_dir_all(lab.path("dump.new/half")).unwrap();
    let (_, reply) = dump(&lab, false).await;
    let mut components = reply.unwrap().components;
    components.sort();
    assert_eq!(components, ["counter", "sleeper"]);
    until_state(pid, false).await;
    for path in [
        "dump/record",
        "dump/counter/pages.img",
        "dump/sleeper/pages.img",
    ] {
        assert!(lab.path(path).exists(), "{path}");
    }
    assert!(!lab.path("dump.new").exists() && !lab.path("dump/half").exists());
    assert!(lab.path("dump/disks/disk").is_dir());
    // They are there: nothing is brought back beside them.
    let directory = lab.path("dump").to_str().unwrap().to_owned();
    let refused = lab.client().restore(RestoreRequest { directory }).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists);
    assert!(refused.message().contains("is there already"), "{refused}");
    // A second dump takes the place of the first one.
    let (_, again) = dump(&lab, false).await;
    again.unwrap();
}

#[tokio::test]
async fn held_components_go_on_when_nobody_listens_any_more() {
    let (lab, _programs) = lab_with_criu("true").await;
    std::fs::create_dir(lab.path("disk")).unwrap();
    lab.apply(lab.sh("sleeper", "exec sleep 100000")).await;
    let pid = lab.wait_ready("sleeper").await.pid;
    let (stream, reply) = dump(&lab, true).await;
    reply.unwrap();
    assert_eq!(state(pid), "T");
    drop(stream);
    until_state(pid, false).await;
    assert_eq!(lab.list().await[0].state(), State::Ready);
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_nothing_halted() {
    let (lab, _programs) = lab_with_criu("sleep 0.3").await;
    std::fs::create_dir(lab.path("disk")).unwrap();
    lab.apply(lab.sh("sleeper", "exec sleep 100000")).await;
    let pid = lab.wait_ready("sleeper").await.pid;
    tokio::select! {
        _ = dump(&lab, true) => panic!("it takes longer"),
        () = until_state(pid, true) => {}
    }
    until_state(pid, false).await;
    assert_eq!(state(pid), "S");
}

#[tokio::test]
async fn who_cannot_be_dumped_is_named_with_the_reason_and_nothing_is_left() {
    let script = r#"echo "(00.05) Error (criu/sk-inet.c:191): inet: Unsupported proto 262 for socket 1a" >$IMAGES/criu.log
        echo "(00.06) Error (criu/cr-dump.c:2128): Dumping FAILED." >>$IMAGES/criu.log; exit 1"#;
    let (lab, _programs) = lab_with_criu(script).await;
    std::fs::create_dir(lab.path("disk")).unwrap();
    lab.apply(lab.sh("sleeper", "exec sleep 100000")).await;
    let pid = lab.wait_ready("sleeper").await.pid;
    let (_, reply) = dump(&lab, true).await;
    let status = reply.unwrap_err();
    let expected =
        format!("cannot dump sleeper (process {pid}): inet: Unsupported proto 262 for socket 1a");
    assert_eq!(status.message(), expected);
    until_state(pid, false).await;
    assert!(!lab.path("dump").exists() && !lab.path("dump.new").exists());
    // It is as it was: the same process.
    assert_eq!(lab.list().await[0].pid, pid);
}

#[tokio::test]
async fn without_a_dump_nothing_is_brought_back() {
    let (lab, _programs) = lab_with_criu("true").await;
    let directory = lab.path("nowhere").to_str().unwrap().to_owned();
    let refused = lab.client().restore(RestoreRequest { directory }).await;
    assert!(refused.unwrap_err().message().contains("nowhere"));
    std::fs::create_dir(lab.path("dump")).unwrap();
    std::fs::write(lab.path("dump/record"), [0xff; 9]).unwrap();
    let directory = lab.path("dump").to_str().unwrap().to_owned();
    let refused = lab.client().restore(RestoreRequest { directory }).await;
    assert!(refused.unwrap_err().message().contains("damaged"));
    let (_, nothing) = dump(&lab, false).await;
    assert!(nothing.unwrap_err().message().contains("nothing runs"));
}
