//! Images of the container engines of this machine: docker, podman, buildah, containerd.
//!
//! An engine is asked by its own program, which knows where its daemon is and writes an archive to its standard output;
//! where there is only the daemon's socket, by that. Nothing of an engine is changed.
//!
//! ```text
//! docker save ─┐ nothing came: why, and the next engine
//! podman save ─┤
//! buildah push ┼─ the first bytes ─► Export ─► Pieces::stream ─► end: a program that failed says why
//! ctr export  ─┘
//! ```

mod build;
mod program;
mod reference;
mod socket;

use std::fmt;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::Command;

use super::{LoadError, Meter, Result};
pub use build::Recipe;
use program::Program;
pub use reference::EngineImage;
use reference::SCHEME;
use socket::Socket;

/// Namespaces of containerd that are looked into first: Kubernetes', ctr's and nerdctl's, docker's.
const NAMESPACES: [&str; 3] = ["k8s.io", "default", "moby"];
/// The first bytes of an archive say that there is one.
const FIRST: usize = 64 << 10;

/// A program that holds container images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Docker, or what answers at its socket.
    Docker,
    /// Podman.
    Podman,
    /// Buildah, which has podman's images; it may be there alone.
    Buildah,
    /// containerd, in whichever of its namespaces the image is.
    Containerd,
}

impl Engine {
    /// In the order in which they are asked.
    pub const ALL: [Self; 4] = [Self::Docker, Self::Podman, Self::Buildah, Self::Containerd];

    /// `docker`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Buildah => "buildah",
            Self::Containerd => "containerd",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an engine gave nothing, in its own words.
type Refusal = String;

/// An archive that an engine writes.
pub(super) struct Export<'a> {
    engine: Engine,
    reference: String,
    first: io::Cursor<Vec<u8>>,
    rest: Writer<'a>,
}

enum Writer<'a> {
    Program(Program<'a>),
    Socket(Socket<'a>),
}

impl Read for Writer<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Program(program) => program.read(buffer),
            Self::Socket(socket) => socket.read(buffer),
        }
    }
}

impl Read for Export<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.first.read(buffer)? {
            0 => self.rest.read(buffer),
            n => Ok(n),
        }
    }
}

impl<'a> Export<'a> {
    /// Asks the engines for the image, one after the other.
    pub(super) fn open(wanted: &EngineImage, meter: &'a Meter) -> Result<Self> {
        let engines = match &wanted.engine {
            Some(engine) => std::slice::from_ref(engine),
            None => &Engine::ALL[..],
        };
        let mut asked = Vec::new();
        for &engine in engines {
            match ask(engine, wanted, meter) {
                Ok((first, rest)) => {
                    return Ok(Self {
                        engine,
                        reference: wanted.reference.clone(),
                        first: io::Cursor::new(first),
                        rest,
                    });
                }
                Err(refusal) => asked.push((engine, refusal)),
            }
            if meter.is_cancelled() {
                break;
            }
        }
        Err(LoadError::NotHere {
            reference: wanted.reference.clone(),
            asked,
        })
    }

    /// `docker://nginx:1.29`.
    pub(super) fn name(&self) -> String {
        format!("{}{SCHEME}{}", self.engine, self.reference)
    }

    /// The archive was read, or not: what the engine says goes before what is wrong with a half of an archive.
    pub(super) fn end<T>(self, read: Result<T>) -> Result<T> {
        let Writer::Program(program) = self.rest else {
            return read;
        };
        match program.end() {
            Err(reason) => Err(LoadError::Engine {
                engine: self.engine,
                reference: self.reference,
                reason,
            }),
            Ok(()) => read,
        }
    }
}

fn ask<'a>(
    engine: Engine,
    wanted: &EngineImage,
    meter: &'a Meter,
) -> Result<(Vec<u8>, Writer<'a>), Refusal> {
    let image = wanted.reference.as_str();
    match engine {
        Engine::Docker => or_socket(program("docker", &["save", image], meter), || {
            let socket = match std::env::var("DOCKER_HOST") {
                Ok(host) => host.strip_prefix("unix://").map(PathBuf::from),
                Err(_) => Some("/var/run/docker.sock".into()),
            };
            socket.map(|socket| Socket::get(&socket, image, meter))
        }),
        Engine::Podman => {
            let saved = program("podman", &["save", "--quiet", image], meter);
            or_socket(saved, || {
                Some(Socket::get(
                    "/run/podman/podman.sock".as_ref(),
                    image,
                    meter,
                ))
            })
        }
        Engine::Buildah => {
            // As `podman save` does it; the archive needs no name.
            let push = ["push", "--quiet", image, "docker-archive:/dev/stdout"];
            program("buildah", &push, meter)
        }
        Engine::Containerd => containerd(wanted, meter),
    }
}

/// Asks the socket of an engine whose program is not there.
fn or_socket<'a>(
    by_program: Result<(Vec<u8>, Writer<'a>), Refusal>,
    socket: impl FnOnce() -> Option<Result<Option<Socket<'a>>, Refusal>>,
) -> Result<(Vec<u8>, Writer<'a>), Refusal> {
    if !matches!(&by_program, Err(refusal) if refusal == program::NOT_INSTALLED) {
        return by_program;
    }
    match socket() {
        None | Some(Ok(None)) => by_program,
        Some(Err(refusal)) => Err(refusal),
        Some(Ok(Some(socket))) => begin(Writer::Socket(socket)),
    }
}

/// The image from the first namespace that has it.
fn containerd<'a>(
    wanted: &EngineImage,
    meter: &'a Meter,
) -> Result<(Vec<u8>, Writer<'a>), Refusal> {
    // Unlike the others it knows full names only.
    let full = wanted
        .name()
        .map_or_else(|| wanted.reference.clone(), String::from);
    let listed = Program::output(Command::new("ctr").args(["namespaces", "ls", "-q"]));
    if matches!(&listed, Err(refusal) if refusal == program::NOT_INSTALLED) {
        return program("nerdctl", &["save", &full], meter).map_err(|refusal| {
            refusal.replace(
                program::NOT_INSTALLED,
                "neither ctr nor nerdctl is installed",
            )
        });
    }
    let listed = listed?;
    let listed: Vec<&str> = listed.split_whitespace().collect();
    let own = std::env::var("CONTAINERD_NAMESPACE").ok();
    let mut namespaces: Vec<&str> = own.as_deref().into_iter().chain(NAMESPACES).collect();
    namespaces.retain(|namespace| listed.contains(namespace));
    namespaces.extend(&listed);
    let mut asked: Vec<&str> = Vec::new();
    for namespace in namespaces {
        if asked.contains(&namespace) {
            continue;
        }
        asked.push(namespace);
        let filter = format!("name=={full}");
        let has = Program::output(
            Command::new("ctr").args(["-n", namespace, "images", "ls", "-q", &filter]),
        )?;
        if !has.trim().is_empty() {
            // Newer ones have two ways, of which the other one ends before its last bytes are written when the reader is
            // slow; older ones have only the good one, and no flag for it.
            let help = Program::output(Command::new("ctr").args(["images", "export", "--help"]))?;
            let local = help.contains("--local").then_some("--local");
            let mut export = vec!["-n", namespace, "images", "export"];
            export.extend(local);
            export.extend(["-", &full]);
            return program("ctr", &export, meter);
        }
    }
    Err(match asked.as_slice() {
        [] => "it has no image".to_owned(),
        [one] => format!("no image {full} in namespace {one}"),
        more => format!("no image {full} in namespaces {}", more.join(", ")),
    })
}

fn program<'a>(
    name: &str,
    arguments: &[&str],
    meter: &'a Meter,
) -> Result<(Vec<u8>, Writer<'a>), Refusal> {
    let program = Program::start(Command::new(name).args(arguments), meter)?;
    begin(Writer::Program(program))
}

/// Waits for the first bytes.
fn begin(mut writer: Writer<'_>) -> Result<(Vec<u8>, Writer<'_>), Refusal> {
    let mut first = vec![0; FIRST];
    let n = writer.read(&mut first).map_err(|error| error.to_string())?;
    if n > 0 {
        first.truncate(n);
        return Ok((first, writer));
    }
    let said = match writer {
        Writer::Program(program) => program.end(),
        Writer::Socket(_) => Ok(()),
    };
    Err(said.err().unwrap_or_else(|| "it gave nothing".to_owned()))
}
