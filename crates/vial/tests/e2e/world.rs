//! A machine in a world of its own: what "the host" and "the internet" are to a cluster that may reach outside.
//!
//! ```text
//! host: network and mount namespace              world: network namespace
//!   uplink 198.51.100.2, 2001:db8:51::2 ──veth── 198.51.100.1, 2001:db8:51::1
//!   default routes via the world                 lo 203.0.113.9, 2001:db8:9::9: web and name server
//! ```
//! No real address is ever spoken to. All of it ends with the value.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use vial_sys::namespace::enter_network_at;

use crate::lab::eventually;

/// Addresses of [`NAME`] and [`REGISTRY`], in the world.
pub(crate) const V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
pub(crate) const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 9);
/// A name that only the world's name server knows.
pub(crate) const NAME: &str = "web.example.test";
/// Another one, with the same addresses.
pub(crate) const REGISTRY: &str = "registry.example.test";
/// Of the web server, which says who asks.
pub(crate) const PORT: u16 = 8000;
/// The host's own addresses.
pub(crate) const HOST_V4: &str = "198.51.100.2";
pub(crate) const HOST_V6: &str = "2001:db8:51::2";

/// Both machines.
pub(crate) struct World {
    host: Holder,
    world: Holder,
    listeners: Vec<TcpListener>,
    _dir: tempfile::TempDir,
}

/// A process that does nothing but hold its namespaces.
struct Holder(Child);

impl Holder {
    fn new(namespaces: &[&str]) -> Self {
        let child = Command::new("unshare")
            .args(namespaces)
            .args(["sleep", "infinity"])
            .spawn();
        let holder = Self(child.expect("unshare(1) is part of every Linux"));
        eventually("the namespaces are made", || {
            let running = std::fs::read_to_string(format!("/proc/{}/comm", holder.0.id()));
            let running = running.unwrap_or_default();
            (running.trim() == "sleep").then_some(()).ok_or(running)
        });
        holder
    }

    /// Words that let a command run there.
    fn enter(&self) -> Vec<String> {
        let target = self.0.id().to_string();
        ["nsenter", "--target", &target, "--net", "--mount"]
            .map(ToOwned::to_owned)
            .into()
    }

    #[track_caller]
    fn run(&self, command: &str) -> String {
        let enter = self.enter();
        let output = Command::new(&enter[0])
            .args(&enter[1..])
            .args(["sh", "-c", command])
            .output();
        let output = output.expect("nsenter(1) is part of every Linux");
        let (said, why) = (output.stdout, output.stderr);
        let why = String::from_utf8_lossy(&why);
        assert!(output.status.success(), "{command}: {why}");
        String::from_utf8_lossy(&said).into_owned()
    }

    /// Does something in its network namespace: a socket that is made there stays there.
    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = PathBuf::from(format!("/proc/{}/ns/net", self.0.id()));
        let entered = || {
            enter_network_at(&path).expect("it lives");
            work()
        };
        std::thread::scope(|scope| scope.spawn(entered).join()).expect("no panic")
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It is ours, and does nothing but wait for this.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl World {
    /// Two machines without a cable; the host asks `V4` for names.
    pub(crate) fn apart() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let host = Holder::new(&["--net", "--mount", "--propagation", "private"]);
        let world = Holder::new(&["--net"]);
        let resolv = dir.path().join("resolv.conf");
        std::fs::write(&resolv, format!("nameserver {V4}\n")).expect("written");
        host.run(&format!(
            "mount --bind {} /etc/resolv.conf",
            resolv.display()
        ));
        host.run("ip link set lo up");
        world.run("ip link set lo up");
        world.run(&format!("ip address add {V4}/32 dev lo"));
        world.run(&format!("ip address add {V6}/128 dev lo"));
        let mut made = Self {
            host,
            world,
            listeners: Vec::new(),
            _dir: dir,
        };
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT));
        let web = made
            .world
            .inside(|| TcpListener::bind(any).expect("a web server"));
        made.serve(web);
        let names = made
            .world
            .inside(|| UdpSocket::bind((V4, 53)).expect("a name server"));
        std::thread::spawn(move || serve_names(&names));
        made
    }

    /// Lays the cable between them.
    pub(crate) fn connect(&self) {
        let (host, world) = (&self.host, &self.world);
        let pid = world.0.id();
        host.run(&format!(
            "ip link add uplink type veth peer name cable netns {pid}"
        ));
        for (side, device, own) in [(host, "uplink", 2), (world, "cable", 1)] {
            // Addresses are as they stay from the first moment on.
            side.run(&format!(
                "echo 0 > /proc/sys/net/ipv6/conf/{device}/accept_dad"
            ));
            side.run(&format!("ip link set {device} up"));
            side.run(&format!("ip address add 198.51.100.{own}/24 dev {device}"));
            side.run(&format!(
                "ip address add 2001:db8:51::{own}/64 dev {device} nodad"
            ));
        }
        host.run("ip route add default via 198.51.100.1");
        host.run("ip route add default via 2001:db8:51::1");
    }

    /// A port of the world's, at all its addresses. What listens there ends with it.
    pub(crate) fn listen(&mut self, port: u16) -> TcpListener {
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let listener = self.world.inside(|| TcpListener::bind(any));
        let listener = listener.expect("a port of the world");
        self.listeners
            .push(listener.try_clone().expect("a descriptor"));
        listener
    }

    /// Words before a command that is to run on the host.
    pub(crate) fn host(&self) -> Vec<String> {
        self.host.enter()
    }

    /// A web server of the host, at an address of its own; gives its port.
    pub(crate) fn serve_on_host(&mut self, address: &str) -> u16 {
        let address = SocketAddr::new(address.parse().expect("an address"), 0);
        let web = self
            .host
            .inside(|| TcpListener::bind(address).expect("an address of the host"));
        let port = web.local_addr().expect("bound").port();
        self.serve(web);
        port
    }

    /// Everything of the host's network that a way out must not change.
    pub(crate) fn look(&self) -> String {
        let show = [
            "ip -o link",
            "ip -br address",
            "ip route show table all",
            "ip -6 route show table all",
            "ip rule",
            "ip -6 rule",
            "nft list ruleset || true",
            "cat /proc/net/ip_tables_names || true",
            "cat /proc/self/mountinfo",
        ];
        show.map(|command| self.host.run(command)).concat()
    }

    /// Who listens on the host, without those at its loopback addresses.
    pub(crate) fn listeners(&self) -> Vec<String> {
        let lines = self
            .host
            .run("cat /proc/net/tcp /proc/net/tcp6 /proc/net/udp /proc/net/udp6");
        let fields = lines.lines().map(|line| line.split_whitespace());
        let bound = fields.filter_map(|mut fields| Some((fields.nth(1)?, fields.nth(1)?)));
        let listens = bound.filter(|(address, state)| {
            ["0A", "07"].contains(state) && !address.contains("0100007F:")
        });
        listens.map(|(address, _)| address.to_owned()).collect()
    }

    fn serve(&mut self, listener: TcpListener) {
        self.listeners
            .push(listener.try_clone().expect("a descriptor"));
        std::thread::spawn(move || {
            while let Ok((mut client, who)) = listener.accept() {
                let _ = client.set_read_timeout(Some(Duration::from_secs(5)));
                let _ = client.read(&mut [0; 1024]);
                let who = who.ip().to_canonical();
                // A client that goes away is its own business.
                let _ = write!(client, "HTTP/1.0 200 OK\r\n\r\nhello {who}");
            }
        });
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for listener in &self.listeners {
            // Wakes the thread that accepts.
            let _ = rustix::net::shutdown(listener, rustix::net::Shutdown::Both);
        }
    }
}

/// Knows two names; the socket's end is that of the test.
fn serve_names(socket: &UdpSocket) {
    let mut buffer = [0; 512];
    while let Ok((length, client)) = socket.recv_from(&mut buffer) {
        let _ = socket.send_to(&answer(&buffer[..length]), client);
    }
}

/// RFC 1035, 4.1: header, question, and what is known.
fn answer(query: &[u8]) -> Vec<u8> {
    let mut end = 12;
    let mut name = Vec::new();
    while query[end] != 0 {
        let label = &query[end + 1..=end + usize::from(query[end])];
        name.push(String::from_utf8_lossy(label).to_lowercase());
        end += 1 + label.len();
    }
    let kind = query[end + 2];
    let data = match kind {
        1 => V4.octets().to_vec(),
        28 => V6.octets().to_vec(),
        _ => Vec::new(),
    };
    let known = [NAME, REGISTRY].contains(&name.join(".").as_str());
    let count = u8::from(known && !data.is_empty());
    let mut answer = query[..2].to_vec();
    answer.extend([
        0x81,
        if known { 0x80 } else { 0x83 },
        0,
        1,
        0,
        count,
        0,
        0,
        0,
        0,
    ]);
    answer.extend(&query[12..end + 5]);
    if count == 1 {
        answer.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0]);
        answer.push(u8::try_from(data.len()).expect("an address"));
        answer.extend(data);
    }
    answer
}
