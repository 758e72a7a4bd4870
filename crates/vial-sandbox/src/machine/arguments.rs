//! QEMU's arguments: which hardware the machine has.
//!
//! ```text
//!  kernel, initrd ──► PVH entry, no firmware's search for a disk
//!  root, vial (read-only, all machines' own) ─┐
//!  data (the sandbox's own)                   ├─ virtio-blk, found by their serials
//!  outside.sock ── virtio-net: eth0
//!  link.sock ── virtio-serial: vial.link
//!  console.sock, console.log ── virtio-console: hvc0
//!  qmp.sock ── the monitor
//! ```
//! The memory is anonymous, and what the guest frees goes back to the host (free page reporting); that of a machine that
//! was frozen is a private mapping of the file that it was written to.

use rustix::process::geteuid;
use vial_qemu::Arguments;
use vial_qemu::arguments::escaped;
use vial_qemu::start::cold_memory;

use crate::{MachineSpec, SandboxSpec};

/// Whom QEMU runs as when root starts it: nobody.
const NOBODY: u32 = 65_534;

/// All that comes after the program's own words, of a machine that starts.
pub(super) fn arguments(spec: &SandboxSpec, machine: &MachineSpec) -> Vec<String> {
    let mut all = Arguments::default();
    for flag in ["-nodefaults", "-no-user-config", "-no-reboot"] {
        all.flag(flag);
    }
    all.set("-display", "none");
    all.set("-name", format!("guest={}", spec.name));
    if geteuid().is_root() {
        // Opened as root, used as nobody.
        all.set("-run-with", format!("user={NOBODY}:{NOBODY}"));
    }
    all.set(
        "-machine",
        "q35,memory-backend=ram,usb=off,smbus=off,sata=off,i8042=off,vmport=off,hpet=off,suppress-vmdesc=on",
    );
    // What it is frozen to has no more than its devices' states.
    all.set("-global", "migration.send-configuration=off");
    all.set("-bios", "qboot.rom");
    all.set("-accel", &machine.accelerator);
    all.set("-cpu", "max");
    all.set("-smp", machine.cpus);
    all.set("-m", format!("size={}k", machine.memory >> 10));
    all.set("-object", cold_memory("ram", machine.memory));
    all.set("-device", "virtio-balloon-pci,free-page-reporting=on");
    all.set("-device", "virtio-rng-pci");
    let file = |name: &str| machine.files.join(name);
    all.set("-kernel", file("kernel").display());
    all.set("-initrd", file("initrd").display());
    all.set("-append", format!("{} console=hvc0", machine.command_line));
    for (name, path) in [("root", "root"), ("vial", "program")] {
        all.disk(name, file(path).display(), "read-only=on");
    }
    // The cluster is disposable, as one of namespaces is: it does not outlive the host's power.
    all.disk(
        "data",
        file("data").display(),
        "discard=unmap,cache.no-flush=on",
    );
    let run = spec.run_dir.display();
    let outside = escaped(format_args!("{run}/{}", super::outside::SOCKET));
    all.set(
        "-netdev",
        format!(
            "stream,id=outside,server=off,reconnect-ms=1000,addr.type=unix,addr.path={outside}"
        ),
    );
    let mac = crate::outside::MAC
        .map(|byte| format!("{byte:02x}"))
        .join(":");
    all.set(
        "-device",
        format!("virtio-net-pci,netdev=outside,mac={mac}"),
    );
    all.set("-device", "virtio-serial-pci");
    all.socket(&run, "link", "");
    all.set("-device", "virtserialport,chardev=link,name=vial.link");
    let log = escaped(format_args!("{run}/{}", super::CONSOLE));
    all.socket(&run, "console", &format!(",logfile={log},logappend=on"));
    all.set("-device", "virtconsole,chardev=console");
    all.socket(&run, "qmp", "");
    all.set("-mon", "chardev=qmp,mode=control");
    all.words()
}
