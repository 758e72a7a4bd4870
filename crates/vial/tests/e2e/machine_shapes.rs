//! The shape of a virtual machine, as its guest sees it, and what is said of shapes that cannot be.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Stdio;

use crate::lab::Lab;

/// Everything that one machine can have at once, with the kernel of `KERNEL` and its modules.
const SHAPE: &str = "
apiVersion: vial/v1
kind: Cluster
workers: 0
vmWorkers: 1
nodes:
  w-1:
    vm:
      ephemeral: true
      display: true
      swap: 256Mi
      numa:
        - {cpus: 2, memory: 1Gi, distances: [10, 30]}
        - {cpus: 1, memory: 512Mi, distances: [30, 10]}
      hugePages: {2Mi: 64Mi}
      disks:
        - {name: fast, bus: nvme, size: 1Gi}
        - {name: scratch, bus: scsi, size: 512Mi}
        - {name: brought, file: brought.img, readOnly: true}
      nics:
        - {network: storage, model: vmxnet3, mac: '02:00:00:00:07:01', addresses: [192.168.7.1/24]}
        - {network: mgmt}
      kernel: KERNEL
      kernelModules: MODULES
    components:
      kubelet:
        config:
          cpuManagerPolicy: static
          topologyManagerPolicy: single-numa-node
          reservedSystemCPUs: '0'
";

/// What the guest prints of itself.
const LOOK: &str = r#"
lscpu | grep -E '^(CPU\(s\)|NUMA)' | tr -s ' '
cat /sys/devices/system/node/node*/distance
grep HugePages_Total /proc/meminfo | tr -s ' '
awk 'NR > 1 {print "swap", $3}' /proc/swaps
for disk in fast scratch brought; do
    echo $disk $(basename $(readlink /dev/disk/by-id/$disk)) $(lsblk -dnbo SIZE,RO /dev/disk/by-id/$disk)
done
head -c 13 /dev/disk/by-id/brought; echo
cat /sys/class/net/eth1/address
basename $(readlink /sys/class/net/eth1/device/driver) $(readlink /sys/class/net/eth2/device/driver)
ip -4 -br addr show eth1 | tr -s ' '
stat -fc %T /vial/data
"#;

const SEEN: &str = "\
CPU(s): 3
NUMA node(s): 2
NUMA node0 CPU(s): 0,1
NUMA node1 CPU(s): 2
10 30
30 10
HugePages_Total: 32
swap 262140
fast nvme0n1 1073741824 0
scratch sda 536870912 0
brought vde 1048576 1
from the host
02:00:00:00:07:01
vmxnet3
eth1 UP 192.168.7.1/24 
tmpfs
";

#[test]
fn the_guest_sees_the_shape_that_was_asked_for() {
    let lab = Lab::new(&["shape"]);
    let kernel = kernel(&lab);
    let modules = format!("usr/lib/modules/{}/modules.dep", version(&kernel));
    let modules = lab.in_node_image(&modules);
    let modules = modules.parent().expect("a directory");
    // As a person's own: elsewhere, under another name.
    let own = lab.dir().join("bzImage");
    fs::copy(&kernel, &own).expect("a copy");
    let mut disk = b"from the host".to_vec();
    disk.resize(1 << 20, 0);
    fs::write(lab.dir().join("brought.img"), disk).expect("written");
    let yaml = SHAPE
        .replace("KERNEL", &own.to_string_lossy())
        .replace("MODULES", &modules.to_string_lossy());
    let file = lab.file("shape.yaml", &yaml);
    lab.vial(["up", "shape", "-f", &file]).ok();

    let look = lab.exec("shape", "w-1", &["sh", "-c", LOOK]).ok();
    assert_eq!(look.trim_end(), SEEN.trim_end());
    let module = "modprobe wireguard && uname -r";
    let release = lab.exec("shape", "w-1", &["sh", "-c", module]).ok();
    assert_eq!(release, version(&kernel));
    let node = lab
        .kubectl("shape", &["get", "node", "w-1", "-o", "json"])
        .json();
    let allocatable = &node["status"]["allocatable"];
    assert_eq!(allocatable["hugepages-2Mi"], "64Mi");
    // The processor that was set aside is no pod's.
    assert_eq!(allocatable["cpu"], "2");

    its_screen_is_seen(&lab);
    lab.vial(["down", "shape"]).ok();
    lab.assert_nothing_left();
}

fn its_screen_is_seen(lab: &Lab) {
    let written = |script: &str| {
        lab.exec("shape", "w-1", &["sh", "-c", script]).ok();
        let file = lab.dir().join("screen.png");
        let path = file.to_string_lossy();
        let said = lab.vial(["screenshot", "-c", "shape", "w-1", "-o", &path]);
        assert!(said.stderr.contains("720 x 400"), "{said:?}");
        assert_eq!(said.ok(), path);
        fs::read(&file).expect("a picture")
    };
    let empty = written(r"printf '\033[2J\033[H' > /dev/tty1");
    let full = written("seq -s ' ' 900 > /dev/tty1");
    assert!(full.starts_with(b"\x89PNG\r\n\x1a\n"), "{full:?}");
    // What is on it compresses less than nothing does.
    let (empty, full) = (empty.len(), full.len());
    assert!(full > 2 * empty, "{full} bytes, without text {empty}");

    let mut command = lab.command(["vnc", "-c", "shape", "w-1"]);
    let command = command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut serving = command.spawn().expect("it runs");
    let mut address = String::new();
    let mut told = BufReader::new(serving.stdout.take().expect("piped"));
    told.read_line(&mut address).expect("a line");
    let mut viewer = TcpStream::connect(address.trim()).expect("it listens");
    let mut greeting = [0; 12];
    viewer.read_exact(&mut greeting).expect("a greeting");
    assert_eq!(&greeting, b"RFB 003.008\n");
    serving.kill().expect("killed");
    serving.wait().expect("it ends");

    let none = lab.vial(["screenshot", "-c", "shape", "cp-1"]);
    assert_eq!(none.code, 2, "{none:?}");
    let words = "`cp-1` is a container, which has no display";
    assert!(none.stderr.contains(words), "{none:?}");
}

#[test]
fn a_machine_that_cannot_be_is_told_before_it_is_made_and_one_that_fails_in_its_own_words() {
    let lab = Lab::new(&["shapeless"]);
    let file = |content: &str| lab.file("bogus", content);
    let yaml = |vm: &str| {
        let head = "apiVersion: vial/v1\nkind: Cluster\nvmWorkers: 1\n";
        let text = format!("{head}nodes: {{w-1: {{vm: {{{vm}}}}}}}\n");
        lab.file("vial.yaml", &text)
    };
    let refused = |args: &[&str], words: &str| {
        let ran = lab.vial([&["up", "shapeless"], args].concat());
        assert_ne!(ran.code, 0, "{ran:?}");
        assert!(ran.stderr.contains(words), "{words}: {ran:?}");
    };
    refused(
        &["--vm-workers", "2", "--vm-memory", "100000Gi"],
        "w-1 100000Gi + w-2 100000Gi = 200000Gi, the host has ",
    );
    let bogus = file("no kernel at all");
    let flags = ["--vm-workers", "1", "--kernel", &bogus];
    refused(&flags, "it is neither a bzImage nor an ELF file");
    let gone = "disks: [{name: x, file: gone.img}]";
    refused(
        &["-f", &yaml(gone)],
        "gone.img as the disk x of w-1: No such file",
    );
    let broken = "disks: [{name: x, file: bogus, format: qcow2}]";
    refused(&["-f", &yaml(broken)], "it is no qcow2 file");
    refused(
        &["-f", &yaml("disks: [{name: x, bus: usb, size: 1Gi}]")],
        "the node image's kernel has no driver for usb",
    );
    assert!(!lab.cluster_dir("shapeless").exists());

    // QEMU's words, and the console's.
    refused(
        &["-f", &yaml("qemuArgs: [-nonsense]")],
        "-nonsense: invalid option",
    );
    lab.vial(["down", "shapeless"]).ok();
    let kernel = kernel(&lab);
    let flags = ["--vm-workers", "1", "--kernel", &kernel.to_string_lossy()];
    refused(&flags, "cannot find the disk `root`");
    lab.vial(["down", "shapeless"]).ok();
    lab.assert_nothing_left();
}

/// The node image's own.
fn kernel(lab: &Lab) -> PathBuf {
    let boot = lab.in_node_image("usr/bin/qemu-system-x86_64");
    let boot = boot.ancestors().nth(3).expect("a layer").join("boot");
    let entries = fs::read_dir(&boot).expect("a directory");
    let mut paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .find(|path| path.to_string_lossy().contains("/vmlinuz-"))
        .expect("a kernel")
}

fn version(kernel: &std::path::Path) -> String {
    let name = kernel.file_name().expect("a name").to_string_lossy();
    name.trim_start_matches("vmlinuz-").to_owned()
}
