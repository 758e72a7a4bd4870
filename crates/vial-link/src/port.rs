//! The guest's end of a virtio-serial port: `/dev/vportNpM`, found by the name that the host gave it.
//!
//! Facts, from drivers/char/virtio_console.c of the kernel:
//! - the name is in `/sys/class/virtio-ports/vportNpM/name`, which appears after the device itself, with a uevent;
//! - one process may have a port open at a time, and closing it throws away what was not read;
//! - while no host is there, `read` returns 0 once nothing is left to read, `write` would block, and poll(2) tells
//!   POLLHUP, which goes again.
//!
//! That last fact is why tokio does not wait for the port itself: a hang-up is final for it. It waits for an epoll
//! instance (epoll(7)) with nothing but the port in it, which only becomes readable.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::event::epoll;
use rustix::fs::OFlags;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, netlink};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::guest::Ports;
use crate::readable::readable;

/// The name of the port in every machine that vial makes.
pub const PORT_NAME: &str = "vial.link";

/// Where the kernel lists the ports.
const CLASS: &str = "/sys/class/virtio-ports";

/// Why there is no port.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The kernel does not tell what devices come.
    #[error("cannot listen for new devices")]
    Events(#[source] io::Error),
    /// It exists and cannot be used.
    #[error("cannot open {}", path.display())]
    Open {
        /// The device.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It can be opened by others than root.
    #[error("{} belongs to user {owner}", path.display())]
    Owner {
        /// The device.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
}

/// The port of a name, opened anew for each host.
#[derive(Debug, Clone)]
pub struct VirtioPort {
    name: String,
}

impl VirtioPort {
    /// The port named `name`: [`PORT_NAME`] in vial's machines.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let name = name.to_owned();
        Self { name }
    }
}

impl Ports for VirtioPort {
    type Line = Port;

    /// Waits for the device when it is not there yet.
    async fn open(&mut self) -> io::Result<Port> {
        let path = device(Path::new(CLASS), &self.name).await;
        path.and_then(|path| Port::open(&path))
            .map_err(io::Error::other)
    }
}

/// The device of the port named `name`, as soon as it is there.
async fn device(class: &Path, name: &str) -> Result<PathBuf, PortError> {
    // First listen, then look: what comes in between is heard.
    let events = events().map_err(PortError::Events)?;
    loop {
        if let Some(path) = find(class, name) {
            return Ok(path);
        }
        let mut ready = events.readable().await.map_err(PortError::Events)?;
        let heard = ready.try_io(|events| {
            let buffer = &mut [0; 8192][..];
            Ok(rustix::net::recv(events, buffer, RecvFlags::empty())?)
        });
        // Also when some were lost (ENOBUFS): it is only a reason to look.
        drop(heard);
    }
}

fn find(class: &Path, name: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(class).ok()?;
    entries.flatten().find_map(|entry| {
        let found = fs::read_to_string(entry.path().join("name")).ok()?;
        (found.trim_end() == name).then(|| Path::new("/dev").join(entry.file_name()))
    })
}

/// The kernel's announcements of devices (netlink(7), NETLINK_KOBJECT_UEVENT, group 1).
fn events() -> io::Result<AsyncFd<OwnedFd>> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        Some(netlink::KOBJECT_UEVENT),
    )?;
    rustix::net::bind(&socket, &netlink::SocketAddrNetlink::new(0, 1))?;
    readable(socket)
}

/// An open port. To be used by one task: only the last one that was told to wait is woken.
#[derive(Debug)]
pub struct Port {
    file: File,
    /// Readable when something about the port may have changed.
    changes: AsyncFd<OwnedFd>,
}

impl Port {
    /// Opens a device, and makes sure that nobody but root can.
    ///
    /// # Errors
    /// When it cannot be opened, or belongs to somebody else.
    pub fn open(path: &Path) -> Result<Self, PortError> {
        let open_error = |source| PortError::Open {
            path: path.to_path_buf(),
            source,
        };
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags.bits().cast_signed())
            .open(path)
            .map_err(open_error)?;
        let owner = file.metadata().map_err(open_error)?.uid();
        if owner != rustix::process::geteuid().as_raw() {
            let path = path.to_path_buf();
            return Err(PortError::Owner { path, owner });
        }
        let private = fs::Permissions::from_mode(0o600);
        file.set_permissions(private).map_err(open_error)?;
        Self::new(file).map_err(open_error)
    }

    fn new(file: File) -> io::Result<Self> {
        let changes = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        epoll::add(&changes, &file, epoll::EventData::new_u64(0), flags)?;
        let changes = readable(changes)?;
        Ok(Self { file, changes })
    }

    /// Tries until it would not block.
    fn poll_io<R>(
        &mut self,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut(&mut File) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        loop {
            match attempt(&mut self.file) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                done => return Poll::Ready(done),
            }
            let mut changed = ready!(self.changes.poll_read_ready(cx))?;
            // Takes the news, so that the next change is news again; then there is time for another attempt.
            let mut news = [MaybeUninit::uninit(); 1];
            let now = rustix::event::Timespec::default();
            let (heard, _) = epoll::wait(changed.get_inner(), &mut news, Some(&now))?;
            if heard.is_empty() {
                changed.clear_ready();
            }
        }
    }
}

impl AsyncRead for Port {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let into = buffer.initialize_unfilled();
        let read = ready!(self.get_mut().poll_io(cx, |file| file.read(into)))?;
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Port {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_io(cx, |file| file.write(data))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// A socket behaves as a port does, as long as its other end is there.
    fn pair() -> (Port, UnixStream) {
        let (port, host) = UnixStream::pair().unwrap();
        port.set_nonblocking(true).unwrap();
        (Port::new(File::from(OwnedFd::from(port))).unwrap(), host)
    }

    #[tokio::test]
    async fn what_comes_wakes_the_reader() {
        let (mut port, mut host) = pair();
        for word in [b"first", b"again"] {
            let reading = tokio::spawn(async move {
                let mut heard = [0; 5];
                port.read_exact(&mut heard).await.unwrap();
                (port, heard)
            });
            tokio::task::yield_now().await;
            assert!(!reading.is_finished());
            host.write_all(word).unwrap();
            let heard;
            (port, heard) = reading.await.unwrap();
            assert_eq!(&heard, word);
        }
        drop(host);
        assert_eq!(port.read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_full_line_holds_the_writer_until_there_is_room() {
        const SIZE: usize = 4 << 20;
        let (mut port, mut host) = pair();
        let writing = tokio::spawn(async move { port.write_all(&vec![7; SIZE]).await });
        tokio::task::yield_now().await;
        assert!(!writing.is_finished());
        let reading = tokio::task::spawn_blocking(move || {
            let mut heard = Vec::new();
            host.read_to_end(&mut heard).map(|_| heard)
        });
        writing.await.unwrap().unwrap();
        assert!(reading.await.unwrap().unwrap() == vec![7; SIZE]);
    }

    #[test]
    fn a_port_is_found_by_its_name() {
        let class = tempfile::tempdir().unwrap();
        for (device, name) in [("vport1p1", "another"), ("vport1p2", PORT_NAME)] {
            fs::create_dir(class.path().join(device)).unwrap();
            fs::write(class.path().join(device).join("name"), format!("{name}\n")).unwrap();
        }
        // One that has no name yet.
        fs::create_dir(class.path().join("vport1p3")).unwrap();
        let found = find(class.path(), PORT_NAME);
        assert_eq!(found.as_deref(), Some(Path::new("/dev/vport1p2")));
        assert_eq!(find(class.path(), "vial"), None);
        assert_eq!(find(Path::new("/nonexistent"), PORT_NAME), None);
    }

    #[tokio::test]
    async fn an_opened_port_is_roots_alone() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o666)).unwrap();
        // epoll(7) takes no plain file; the permissions come before.
        assert!(Port::open(file.path()).is_err());
        let mode = file.path().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    /// The agent's runtime takes it.
    #[test]
    fn the_guests_end_can_be_spawned() {
        fn spawnable(_: impl Future<Output = ()> + Send + 'static) {}
        spawnable(crate::serve(
            VirtioPort::named(PORT_NAME),
            "/run/agent.sock",
            crate::OwnNetwork,
        ));
    }
}
