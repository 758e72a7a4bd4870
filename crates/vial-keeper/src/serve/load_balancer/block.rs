//! A cluster's part of the host's loopback network, which no other cluster has: 127.89.BLOCK.0/24.
//!
//! ```text
//! no book ── claim a free block ──► book written ──► claimed again by every later keeper ── down ──► gone with the cluster
//! ```
//! Two things say that a block is taken: the book of a cluster on disk, which holds while no keeper runs, and a claim
//! that a running keeper holds, which is also seen by keepers with another home. A claim is a Unix socket in the
//! abstract namespace (unix(7)): like the loopback addresses it belongs to the host's network namespace, it has no
//! file, and the kernel removes it with its keeper.

use std::fs;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};

use vial_engine::paths::Paths;
use vial_engine::record::{self, write_private};

use super::book::Book;

/// Below the cluster's directory.
const FILE: &str = "load-balancer.json";

/// The book of a cluster, and the claim to its block as long as this lives.
pub(super) struct Shelf {
    path: PathBuf,
    /// `None`: another home's cluster has the same block, which can only happen to a cluster that comes back.
    _claim: Option<UnixListener>,
}

impl Shelf {
    /// Opens the book of a cluster; for one that has none, with a block that nobody has.
    pub(super) fn open(paths: &Paths, cluster: &str) -> io::Result<(Self, Book)> {
        let path = paths.cluster_dir(cluster).join(FILE);
        if let Some(book) = read(&path)? {
            let claim = claim(book.block)?;
            if claim.is_none() {
                tracing::warn!(
                    block = book.block,
                    "its loopback addresses are also those of another cluster"
                );
            }
            return Ok((
                Self {
                    path,
                    _claim: claim,
                },
                book,
            ));
        }
        for block in 1..=u8::MAX {
            let Some(claim) = claim(block)? else { continue };
            // Looked at while the claim is held: whoever wrote a book with this block has held it before.
            if taken(paths, cluster, block)? {
                continue;
            }
            let (shelf, book) = (
                Self {
                    path,
                    _claim: Some(claim),
                },
                Book::new(block),
            );
            shelf.write(&book)?;
            return Ok((shelf, book));
        }
        Err(io::Error::other("255 clusters have all of 127.89.0.0/16"))
    }

    /// Replaces the book on disk.
    pub(super) fn write(&self, book: &Book) -> io::Result<()> {
        write_private(&self.path, &serde_json::to_vec(book)?).map_err(io::Error::other)
    }
}

/// A damaged book is like none: what a Service had is then given anew.
fn read(path: &Path) -> io::Result<Option<Book>> {
    match fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn claim(block: u8) -> io::Result<Option<UnixListener>> {
    let name = SocketAddr::from_abstract_name(format!("vial/127.89.{block}"))?;
    match UnixListener::bind_addr(&name) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(None),
        Err(error) => Err(error),
    }
}

/// Does the book of another cluster have this block?
fn taken(paths: &Paths, cluster: &str, block: u8) -> io::Result<bool> {
    let names = record::names(paths).map_err(io::Error::other)?;
    for name in names.iter().filter(|name| *name != cluster) {
        if read(&paths.cluster_dir(name).join(FILE))?.is_some_and(|book| book.block == block) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(names: &[&str]) -> (tempfile::TempDir, Paths) {
        let dir = tempfile::tempdir().expect("a directory");
        let paths = Paths {
            home: dir.path().into(),
            run: dir.path().join("run"),
        };
        for name in names {
            fs::create_dir_all(paths.cluster_dir(name)).expect("made");
        }
        (dir, paths)
    }

    #[test]
    fn clusters_have_blocks_of_their_own_also_while_no_keeper_runs_and_in_another_home() {
        let (_one, here) = home(&["a", "b", "c"]);
        let (_two, there) = home(&["a"]);
        let (shelf, a) = Shelf::open(&here, "a").expect("a block");
        let (_claim, elsewhere) = Shelf::open(&there, "a").expect("a block");
        assert_ne!(
            elsewhere.block, a.block,
            "claimed by a keeper of another home"
        );
        drop(shelf);
        let (_claim, b) = Shelf::open(&here, "b").expect("a block");
        assert!(
            ![a.block, elsewhere.block].contains(&b.block),
            "the book of a stopped cluster counts"
        );
        let (_claim, again) = Shelf::open(&here, "a").expect("a block");
        assert_eq!(again, a);
    }

    #[test]
    fn a_damaged_book_is_written_anew() {
        let (_dir, paths) = home(&["a"]);
        let path = paths.cluster_dir("a").join(FILE);
        fs::write(&path, "{").expect("written");
        let (_claim, book) = Shelf::open(&paths, "a").expect("a block");
        assert_eq!(read(&path).expect("read"), Some(book));
    }
}
