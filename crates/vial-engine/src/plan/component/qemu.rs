//! QEMU, around the virtual machine of a node: which hardware the guest sees.
//!
//! ```text
//!  kernel, initrd ──► PVH entry, no firmware's search for a disk
//!  root, vial (read-only, all machines' own) ─┐
//!  data (the node's own; none of an ephemeral ├─ virtio-blk, found by their serials
//!  machine), swap, modules                   ─┘
//!  tap0 ── virtio-net: eth0                   │
//!  link.sock ── virtio-serial: vial.link      │
//!  console.sock, console.log ── virtio-console: hvc0
//!  qmp.sock ── the monitor
//!  vnc.sock ── VGA, keyboard                  only where they are asked for
//! ```
//! Processors and memory: `qemu/shape.rs`; further disks and interfaces: `qemu/devices.rs`.
//!
//! Debian's cloud kernel has no driver for any display but VGA's text mode, and takes it only as it was left by a BIOS that
//! has told the kernel's own first code of it (`vgacon_startup`). So a machine with a display starts as on a PC: SeaBIOS,
//! then the compressed kernel. That takes some seconds more.
//!
//! The memory is anonymous; that of a machine that was frozen is a private mapping of the file that it was written to, which
//! forks share ([`vial_qemu::start`]).

mod devices;
mod shape;

use vial_qemu::Arguments;
use vial_qemu::arguments::VNC_SOCKET;
use vial_rpc::ComponentSpec;
use vial_spec::{DiskCache, Machine, NodeConfig, mac_text};

use super::super::machine::{self, MACHINE_USER, OWN, RUN};
use super::super::{ComponentPlan, Context, MachineFacts, Stage};

/// Kernel messages are shown on the screen too, down to those that tell what is found.
const SCREEN: &str = "loglevel=7 console=tty0";

/// The component's name.
pub(in crate::plan) const NAME: &str = "qemu";

pub(in crate::plan) fn component(
    context: &Context<'_>,
    node: &NodeConfig,
    wanted: &Machine,
) -> ComponentPlan {
    ComponentPlan {
        spec: ComponentSpec {
            name: NAME.into(),
            argv: argv(node, wanted, &context.facts.machine),
            env: machine::environment(),
            log_file: format!("/var/log/vial/{NAME}.log"),
            // A guest that ends is a node that ends: whoever watches containers brings it back.
            vital: true,
            ..ComponentSpec::default()
        },
        reads: Vec::new(),
        stage: Stage::Boot,
    }
}

fn argv(node: &NodeConfig, wanted: &Machine, facts: &MachineFacts) -> Vec<String> {
    let mut argv = Arguments::default();
    argv.flag(machine::QEMU)
        .flag(OWN)
        .flag("qemu-system-x86_64")
        .flag("-nodefaults")
        .flag("-no-user-config")
        .flag("-no-reboot");
    argv.set("-display", "none");
    argv.set("-name", format!("guest={}", node.name));
    // Opened as root, used as nobody.
    argv.set("-run-with", format!("user={MACHINE_USER}:{MACHINE_USER}"));

    argv.set("-machine", shape::board(wanted));
    // What it is frozen to has no more than its devices' states.
    argv.set("-global", "migration.send-configuration=off");
    if wanted.display {
        argv.set("-device", "VGA");
        argv.set("-vnc", format!("unix:{RUN}/{VNC_SOCKET}"));
    } else {
        argv.set("-bios", "qboot.rom");
    }
    let accelerator = shape::accelerator(&facts.accelerator, node.role, wanted);
    argv.set("-accel", accelerator);
    argv.set("-cpu", "max");
    shape::processors(&mut argv, wanted);
    shape::memory(&mut argv, wanted);
    argv.set("-device", "virtio-balloon-pci,free-page-reporting=on");
    argv.set("-device", "virtio-rng-pci");

    argv.set("-kernel", format!("{OWN}/kernel"));
    argv.set("-initrd", format!("{OWN}/initrd"));
    argv.set("-append", command_line(facts, wanted));

    for (name, file) in [("root", "root"), ("vial", "program")] {
        argv.disk(name, format!("{OWN}/{file}"), "read-only=on");
    }
    let cache = match wanted.disk_cache {
        DiskCache::Safe => "discard=unmap",
        DiskCache::Unsafe => "discard=unmap,cache.no-flush=on",
    };
    if !wanted.ephemeral {
        argv.disk("data", format!("{OWN}/data"), cache);
    }
    if wanted.swap.is_some() {
        argv.disk(
            "swap",
            format!("{OWN}/swap"),
            "discard=unmap,cache.no-flush=on",
        );
    }
    if wanted
        .kernel
        .as_ref()
        .is_some_and(|kernel| kernel.modules.is_some())
    {
        argv.disk("modules", format!("{OWN}/modules"), "read-only=on");
    }
    devices::disks(&mut argv, wanted, cache);

    argv.set("-netdev", "tap,id=eth0,ifname=tap0,script=no,downscript=no");
    let mac = mac_text(machine::mac(node));
    argv.set("-device", format!("virtio-net-pci,netdev=eth0,mac={mac}"));
    devices::nics(&mut argv, wanted);

    argv.set("-device", "virtio-serial-pci");
    argv.socket(RUN, "link", "");
    argv.set("-device", "virtserialport,chardev=link,name=vial.link");
    argv.socket(
        RUN,
        "console",
        &format!(",logfile={RUN}/console.log,logappend=on"),
    );
    argv.set("-device", "virtconsole,chardev=console");
    if wanted.kernel.is_some() {
        // Where it has no driver for virtio-console, or not yet, it is heard here.
        argv.set("-serial", format!("file:{RUN}/serial.log"));
    }
    argv.socket(RUN, "qmp", "");
    argv.set("-mon", "chardev=qmp,mode=control");
    argv.extend(wanted.qemu_args.iter().cloned());
    argv.words()
}

/// What the kernel is told; of two words that say different things the last one counts.
fn command_line(facts: &MachineFacts, wanted: &Machine) -> String {
    let mut own = vec![facts.command_line.as_str()];
    if wanted.kernel.is_some() {
        own.push("console=ttyS0");
    }
    if wanted.display {
        own.push(SCREEN);
    }
    own.push("console=hvc0");
    let pages = shape::huge_pages(wanted);
    own.extend(pages.iter().map(String::as_str));
    let more = wanted.kernel_args.iter().map(String::as_str);
    own.into_iter().chain(more).collect::<Vec<_>>().join(" ")
}
