//! A real machine is frozen, and goes on twice.

use std::process::Stdio;

use serde_json::json;

use super::*;

/// How much memory it has.
const SIZE: u64 = 32 << 20;

/// A machine whose firmware finds nothing to start.
struct Machine {
    /// Ends with it.
    _qemu: tokio::process::Child,
    qmp: Qmp,
}

/// `None`: there is no QEMU, and the test is skipped.
async fn start(directory: &Path, name: &str, memory: String, more: &[String]) -> Option<Machine> {
    let program = crate::testing::program()?;
    let mut arguments = crate::Arguments::default();
    for flag in ["-nodefaults", "-no-user-config"] {
        arguments.flag(flag);
    }
    arguments.set("-display", "none");
    arguments.set("-accel", "tcg");
    arguments.set("-machine", "q35,memory-backend=ram,suppress-vmdesc=on");
    arguments.set("-global", "migration.send-configuration=off");
    arguments.set("-m", "32M");
    arguments.set("-object", memory);
    arguments.disk("data", directory.join("data").display(), "discard=unmap");
    arguments.socket(directory.display(), name, "");
    arguments.set("-mon", format!("chardev={name},mode=control"));
    let mut command = program.command();
    command
        .args(arguments.words())
        .args(more)
        .stdin(Stdio::null());
    let qemu = command.spawn().unwrap();
    let socket = directory.join(format!("{name}.sock"));
    let qmp = loop {
        // QEMU tells nobody when it listens.
        match Qmp::connect(&socket).await {
            Ok(qmp) => break qmp,
            Err(QmpError::Connect { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(error) => panic!("{error}"),
        }
    };
    Some(Machine { _qemu: qemu, qmp })
}

impl Machine {
    /// What is in its first MiB.
    async fn memory(&self, directory: &Path) -> Vec<u8> {
        let file = directory.join("pmem");
        let what = json!({ "val": 0, "size": 1 << 20, "filename": file });
        self.qmp.execute("pmemsave", what).await.unwrap();
        std::fs::read(file).unwrap()
    }
}

fn cold() -> String {
    crate::start::cold_memory("ram", SIZE)
}

fn disk(directory: &Path) -> Disk {
    let options = json!({ "discard": "unmap" });
    Disk {
        device: "disk-data".into(),
        files: Layers::of(&directory.join("data")).unwrap(),
        options: options.as_object().unwrap().clone(),
    }
}

#[tokio::test]
async fn a_machine_goes_on_and_its_copies_go_on_from_there() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    File::create(directory.join("data"))
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
    let Some(machine) = start(directory, "first", cold(), &[]).await else {
        return;
    };
    // The firmware has written what it found.
    while machine
        .memory(directory)
        .await
        .iter()
        .all(|byte| *byte == 0)
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let into = directory.join("frozen");
    std::fs::create_dir(&into).unwrap();
    freeze(&machine.qmp, &into, &[disk(directory)], After::GoOn)
        .await
        .unwrap();
    assert!(machine.qmp.status().await.unwrap().running);
    assert!(!was_cut(&machine.qmp).await.unwrap());
    let node = machine.qmp.disk_node("disk-data").await.unwrap();
    assert_eq!(node, "layer-data-1");

    // Halted, it and its copy have the same in memory.
    let later = directory.join("later");
    std::fs::create_dir(&later).unwrap();
    freeze(&machine.qmp, &later, &[disk(directory)], After::Stay)
        .await
        .unwrap();
    assert!(was_cut(&machine.qmp).await.unwrap());
    let memory = machine.memory(directory).await;
    assert!(
        !directory.join("data.2").exists(),
        "a machine that stays has the disk it had"
    );
    let frozen = Frozen::open(&later).unwrap();
    machine.qmp.quit().await.unwrap();
    let incoming = ["-S".into(), "-incoming".into(), frozen.incoming()];
    let backend = frozen.backend("ram").unwrap();
    let copy = start(directory, "copy", backend, &incoming).await.unwrap();
    while copy.qmp.status().await.unwrap().status == RunState::Incoming {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(
        copy.memory(directory).await == memory,
        "the memory is another one"
    );
    copy.qmp.cont().await.unwrap();
    assert!(copy.qmp.status().await.unwrap().running);

    // It can be frozen again, and nothing of it gets into the files that it came from.
    let again = directory.join("again");
    std::fs::create_dir(&again).unwrap();
    freeze(&copy.qmp, &again, &[disk(directory)], After::GoOn)
        .await
        .unwrap();
    assert!(Frozen::open(&again).unwrap().backend("ram").is_some());
    assert_eq!(Frozen::open(&later).unwrap(), frozen);
}

#[tokio::test]
async fn a_freeze_that_cannot_be_leaves_a_machine_that_runs() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    File::create(directory.join("data"))
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
    let Some(machine) = start(directory, "first", cold(), &[]).await else {
        return;
    };
    let into = directory.join("frozen");
    std::fs::create_dir(&into).unwrap();
    // A device that is not there: it is found out while the machine is halted.
    let disk = Disk {
        device: "nothing".into(),
        ..disk(directory)
    };
    let error = freeze(&machine.qmp, &into, &[disk], After::GoOn)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("no disk of device nothing"),
        "{error}"
    );
    assert!(machine.qmp.status().await.unwrap().running);
    let error = freeze(&machine.qmp, &into, &[], After::GoOn)
        .await
        .unwrap_err();
    assert!(
        error.to_string().starts_with("cannot make"),
        "it never overwrites: {error}"
    );
    assert!(machine.qmp.status().await.unwrap().running);
}
