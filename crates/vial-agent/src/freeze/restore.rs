//! The way back out of a dump.

use std::fs;
use std::path::Path;

use futures::future::join_all;
use prost::Message as _;
use rustix::process::Signal;
use vial_rpc::{ComponentSpec, DumpRecord, RestoreReply, RestoreRequest};

use super::criu::{Criu, Run};
use super::hold::Held;
use super::{FreezeError, Freezer, RECORD, halt, number_components};
use crate::reaper::{Leftovers, Whom};

/// Where CRIU puts its own files; the images are shared by many clusters and are not written to.
const SCRATCH: &str = "/run/vial-thaw";

impl Freezer {
    /// Brings components back, to the end also when nobody waits for it.
    pub(crate) async fn restore(
        &self,
        request: RestoreRequest,
    ) -> Result<RestoreReply, FreezeError> {
        let this = self.clone();
        let work = tokio::spawn(async move {
            let _turn = this.turn.lock().await;
            this.restore_all(Path::new(&request.directory)).await
        });
        work.await.map_err(|_| FreezeError::Interrupted)?
    }

    async fn restore_all(&self, directory: &Path) -> Result<RestoreReply, FreezeError> {
        // They may be of this very dump, which is gone by now.
        if let Some(known) = self.supervisor.specs().await?.first() {
            return Err(FreezeError::Known {
                name: known.name.clone(),
            });
        }
        let wanted = read(directory)?;
        let criu = Criu::find()?;
        let mut children = Vec::with_capacity(wanted.len());
        for (_, pid) in &wanted {
            // Before it is there: its end is not missed.
            children.push(self.reaper.expect(*pid, Leftovers::Kill));
        }
        let held = Held::new(&self.reaper).await;
        let restored = match &held {
            Ok(_) => self.restore_from(directory, &criu, &wanted).await,
            Err(_) => Ok(()),
        };
        let pids: Vec<i32> = wanted.iter().map(|(_, pid)| *pid).collect();
        let let_go = match held {
            Ok(held) => held.let_go().await,
            Err(error) => Err(error),
        };
        if let Err(error) = restored.and(let_go) {
            self.undo(&pids);
            return Err(error);
        }
        halt::go_on(&self.reaper, &pids);
        // What is started from now on may be dumped as well.
        number_components();
        let specs = wanted.into_iter().map(|(spec, _)| spec);
        self.supervisor.adopt(specs.zip(children).collect()).await?;
        let components = self.supervisor.subscribe().await?.present;
        tracing::info!(from = %directory.display(), "restored");
        Ok(RestoreReply { components })
    }

    async fn restore_from(
        &self,
        directory: &Path,
        criu: &Criu,
        wanted: &[(ComponentSpec, i32)],
    ) -> Result<(), FreezeError> {
        let runs = wanted.iter().map(|(spec, pid)| async move {
            let scratch = Path::new(SCRATCH).join(&spec.name);
            fs::create_dir_all(&scratch).map_err(FreezeError::file("make", &scratch))?;
            let run = Run::Restore {
                images: &directory.join(&spec.name),
                scratch: &scratch,
            };
            let restored = criu.run(&self.reaper, &run).await;
            restored.map_err(|reason| FreezeError::Restore {
                name: spec.name.clone(),
                pid: *pid,
                reason,
            })
        });
        // To the end of all of them: what is there after this can be killed.
        let restored = join_all(runs).await;
        let _ = fs::remove_dir_all(SCRATCH);
        restored.into_iter().collect()
    }

    /// Ends those that did come back.
    fn undo(&self, pids: &[i32]) {
        for pid in pids {
            self.reaper.signal(*pid, Signal::KILL, Whom::Group);
            self.reaper.forget(*pid);
        }
    }
}

/// The components of a dump.
fn read(directory: &Path) -> Result<Vec<(ComponentSpec, i32)>, FreezeError> {
    let path = directory.join(RECORD);
    let bytes = fs::read(&path).map_err(FreezeError::file("read", &path))?;
    let damaged = || FreezeError::Damaged(directory.to_owned());
    let record = DumpRecord::decode(bytes.as_slice()).map_err(|_| damaged())?;
    let components = record.components.into_iter();
    let understood = components.map(|one| {
        let whole = one.spec.map(|spec| (spec, one.pid));
        whole.filter(|(_, pid)| *pid > 1).ok_or_else(damaged)
    });
    understood.collect()
}
