//! What is measured on a way.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::ways::Way;
use crate::Result;

/// How much is done on each way.
#[derive(Debug, Clone, Copy)]
pub struct Amount {
    /// Bytes in one direction.
    pub bytes: u64,
    /// Questions of one byte, one after the other.
    pub questions: u32,
    /// Connections, one after the other.
    pub connections: u32,
}

/// One run on one way.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    /// Bytes a second from the server, on one connection.
    pub download: f64,
    /// Bytes a second to the server.
    pub upload: f64,
    /// From a question to its answer, the middle one.
    pub latency: Duration,
    /// Connections a second, each with one question.
    pub connections: f64,
}

/// Measures everything on one way. Not from a thread of the runtime.
///
/// # Errors
/// When a connection breaks.
pub fn run(way: &Way, runtime: &Handle, amount: Amount) -> Result<Figures> {
    let connect = || way.connect(runtime);
    Ok(Figures {
        download: download(connect()?, amount.bytes)?,
        upload: upload(connect()?, amount.bytes)?,
        latency: latency(connect()?, amount.questions)?,
        connections: connections(connect, amount.connections)?,
    })
}

fn rate(amount: f64, began: Instant) -> f64 {
    amount / began.elapsed().as_secs_f64()
}

fn download(mut stream: TcpStream, bytes: u64) -> Result<f64> {
    let mut buffer = vec![0; 256 * 1024];
    let began = Instant::now();
    stream.write_all(&[&b"g"[..], &bytes.to_le_bytes()].concat())?;
    let mut got = 0;
    while got < bytes {
        match stream.read(&mut buffer)? {
            0 => return Err(format!("{got} of {bytes} bytes came").into()),
            more => got += more as u64,
        }
    }
    Ok(rate(bytes as f64, began))
}

fn upload(mut stream: TcpStream, bytes: u64) -> Result<f64> {
    let buffer = vec![0; 256 * 1024];
    let began = Instant::now();
    stream.write_all(&[&b"t"[..], &bytes.to_le_bytes()].concat())?;
    let mut left = bytes;
    while left > 0 {
        let now = buffer.len().min(usize::try_from(left)?);
        stream.write_all(&buffer[..now])?;
        left -= now as u64;
    }
    stream.read_exact(&mut [0])?;
    Ok(rate(bytes as f64, began))
}

fn latency(mut stream: TcpStream, questions: u32) -> Result<Duration> {
    stream.write_all(b"e")?;
    let mut took = Vec::new();
    for _ in 0..questions {
        let began = Instant::now();
        stream.write_all(&[1])?;
        stream.read_exact(&mut [0])?;
        took.push(began.elapsed());
    }
    Ok(crate::report::median(&took))
}

fn connections(connect: impl Fn() -> Result<TcpStream>, count: u32) -> Result<f64> {
    let began = Instant::now();
    for _ in 0..count {
        let mut stream = connect()?;
        stream.write_all(b"e?")?;
        stream.read_exact(&mut [0])?;
    }
    Ok(rate(count.into(), began))
}

/// What a process holds (proc_pid_status(5)).
#[derive(Debug, Clone, Copy)]
pub struct Held {
    /// Its threads.
    pub threads: u64,
    /// Its descriptors.
    pub descriptors: u64,
    /// Its resident memory, in KiB.
    pub rss_kib: u64,
}

impl Held {
    /// What it holds now.
    ///
    /// # Errors
    /// When it is gone.
    pub fn by(pid: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        };
        Ok(Self {
            threads: field("Threads:").unwrap_or(0),
            descriptors: fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64,
            rss_kib: field("VmRSS:").unwrap_or(0),
        })
    }
}

/// What a process holds before and during connections that are all open at once, each of which was answered.
///
/// # Errors
/// When one is not answered.
pub fn at_once(way: &Way, runtime: &Handle, pid: u32, count: usize) -> Result<(Held, Held)> {
    let before = Held::by(pid)?;
    let mut open = Vec::new();
    for _ in 0..count {
        let mut stream = way.connect(runtime)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.write_all(b"e?")?;
        open.push(stream);
    }
    for stream in &mut open {
        stream.read_exact(&mut [0])?;
    }
    Ok((before, Held::by(pid)?))
}
