//! The way into a dump.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use futures::future::{join, join_all};
use prost::Message as _;
use tokio::sync::mpsc;
use tonic::Status;
use vial_rpc::{DumpCopy, DumpRecord, DumpReply, DumpRequest, DumpedComponent};
use vial_sys::tree::{Share, replicate};

use super::criu::{Criu, Run};
use super::halt::Halted;
use super::{FreezeError, Freezer, RECORD};
use crate::supervisor::Process;

/// What a client of a dump gets: one message or an error.
pub(crate) type Dumps = mpsc::Receiver<Result<DumpReply, Status>>;

impl Freezer {
    /// Dumps; goes on when nobody listens any more.
    pub(crate) fn dump(&self, request: DumpRequest) -> Dumps {
        let (replies, queue) = mpsc::channel(1);
        let this = self.clone();
        tokio::spawn(async move {
            let _turn = this.turn.lock().await;
            match this.dump_all(&request).await {
                Ok((reply, halted)) => {
                    // Who is gone wants no hold.
                    let heard = replies.send(Ok(reply)).await.is_ok();
                    if let Some(halted) = halted
                        && heard
                    {
                        replies.closed().await;
                        drop(halted);
                    }
                }
                Err(error) => drop(replies.send(Err(error.into())).await),
            }
        });
        queue
    }

    async fn dump_all(
        &self,
        request: &DumpRequest,
    ) -> Result<(DumpReply, Option<Halted>), FreezeError> {
        let processes = self.supervisor.processes().await?;
        let processes = processes.map_err(|name| FreezeError::Stopping { name })?;
        if processes.is_empty() {
            return Err(FreezeError::Nothing);
        }
        let criu = Criu::find()?;
        let target = PathBuf::from(&request.directory);
        let aside = aside(&target);
        remove(&aside)?;
        let dumped = self.dump_to(&aside, &criu, &processes, request).await;
        let dumped = dumped.and_then(|dumped| {
            remove(&target)?;
            fs::rename(&aside, &target).map_err(FreezeError::file("make", &target))?;
            Ok(dumped)
        });
        if dumped.is_err() {
            // The first error is the one to tell; what stays is removed by the next dump.
            let _ = remove(&aside);
        }
        dumped
    }

    async fn dump_to(
        &self,
        directory: &Path,
        criu: &Criu,
        processes: &[Process],
        request: &DumpRequest,
    ) -> Result<(DumpReply, Option<Halted>), FreezeError> {
        private(directory)?;
        private(&directory.join("disks"))?;
        for (spec, _) in processes {
            private(&directory.join(&spec.name))?;
        }
        let names: Vec<_> = processes
            .iter()
            .map(|(spec, pid)| (spec.name.clone(), *pid))
            .collect();
        let halted = Halted::all(&self.reaper, &names).await?;
        let dumps = names.iter().map(|(name, pid)| {
            let images = directory.join(name);
            async move {
                let run = Run::Dump {
                    pid: *pid,
                    images: &images,
                };
                let dumped = criu.run(&self.reaper, &run).await;
                dumped.map_err(|reason| FreezeError::Dump {
                    name: name.clone(),
                    pid: *pid,
                    reason,
                })
            }
        });
        let copies = request.copies.iter().map(|copy| copied(copy, directory));
        // To the end of all of them, whatever becomes of one: who is being dumped must not go on meanwhile.
        let (dumped, copied) = join(join_all(dumps), join_all(copies)).await;
        let halted_us = u64::try_from(halted.time().as_micros()).unwrap_or(u64::MAX);
        let held = request.hold.then_some(halted);
        dumped
            .into_iter()
            .chain(copied)
            .collect::<Result<Vec<_>, _>>()?;
        tracing::info!(halted_us, "dumped");

        let components = processes.iter().map(|(spec, pid)| DumpedComponent {
            spec: Some((**spec).clone()),
            pid: *pid,
        });
        let record = DumpRecord {
            components: components.collect(),
        };
        let path = directory.join(RECORD);
        fs::write(&path, record.encode_to_vec()).map_err(FreezeError::file("write", &path))?;
        let reply = DumpReply {
            halted_us,
            components: names.into_iter().map(|(name, _)| name).collect(),
        };
        Ok((reply, held))
    }
}

/// Copies a directory into the dump.
async fn copied(copy: &DumpCopy, directory: &Path) -> Result<(), FreezeError> {
    let target = directory.join("disks").join(&copy.name);
    let source = PathBuf::from(&copy.source);
    let copying =
        tokio::task::spawn_blocking(move || replicate(&source, &target, &|_, _| Share::Copy));
    Ok(copying.await.map_err(|_| FreezeError::Interrupted)??)
}

fn private(directory: &Path) -> Result<(), FreezeError> {
    let made = DirBuilder::new().mode(0o700).create(directory);
    made.map_err(FreezeError::file("make", directory))
}

fn aside(target: &Path) -> PathBuf {
    target.with_added_extension("new")
}

fn remove(directory: &Path) -> Result<(), FreezeError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(FreezeError::file("remove", directory)(error))
        }
        _ => Ok(()),
    }
}
