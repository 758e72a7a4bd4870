//! Making images with their progress shown: node images for `vial node-image build` and for the first `vial up`, base images
//! for `vial image debian`; and archives of images as they are read.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use vial_image::load::Meter;
use vial_image::{BuildOptions, NodeImage, Progress as Build, Store};

use crate::commands::node_image::size;
use crate::error::{Code, Error, Result};
use crate::interrupt;
use crate::ui::Progress;

/// Builds an image. Ctrl-C ends the build; the next one goes on where this one was.
///
/// # Errors
/// Those of the build; when interrupted.
pub(crate) async fn build(
    store: &Store,
    options: &BuildOptions,
    progress: &mut Progress,
) -> Result<NodeImage> {
    let work = async |report: Report<'_>| vial_image::build(store, options, report).await;
    watch(progress, "the build of the node image", work).await
}

/// Takes what a build tells.
pub(crate) type Report<'a> = &'a (dyn Fn(Build) + Send + Sync);

/// Shows how `work` goes on, which people call `what`, until it ends or is interrupted.
///
/// # Errors
/// Those of the work; when interrupted.
pub(crate) async fn watch<T>(
    progress: &mut Progress,
    what: &str,
    work: impl AsyncFnOnce(Report<'_>) -> vial_image::Result<T>,
) -> Result<T> {
    let shared = Mutex::new(progress);
    let report = |event: Build| {
        let mut progress = shared.lock().unwrap_or_else(PoisonError::into_inner);
        show(&mut progress, event);
    };
    let result = tokio::select! {
        result = work(&report) => result.map_err(Error::from),
        () = interrupt::signal() => Err(Error::new(Code::Interrupted, format!("{what} was interrupted"))
            .hint("run the same command again: it goes on with what is there already")),
    };
    if result.is_err() {
        shared
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .end(true);
    }
    result
}

/// Does `work`, which reads through `meter`, in a thread of its own, and shows how far it is. Ctrl-C ends it, and then
/// nothing was changed.
///
/// # Errors
/// When interrupted; how the work ends is for the caller to judge.
pub(crate) async fn read<T: Send + 'static>(
    progress: &mut Progress,
    title: &str,
    meter: &Meter,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    progress.started(title, title, None, progress.now_us());
    let mut reading = tokio::task::spawn_blocking(work);
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let mut signal = std::pin::pin!(interrupt::signal());
    let mut interrupted = false;
    let read = loop {
        tokio::select! {
            read = &mut reading => break read,
            () = &mut signal, if !interrupted => {
                interrupted = true;
                meter.cancel();
            }
            _ = tick.tick() => progress.detail(title, &how_far(meter)),
        }
    };
    let read = read.map_err(|error| Error::caused("the reading of the archive ended", error))?;
    if interrupted {
        let message = "interrupted; nothing was changed";
        return Err(Error::new(Code::Interrupted, message));
    }
    Ok(read)
}

/// `24%`, or `120 MB` where it is not known what there is.
fn how_far(meter: &Meter) -> String {
    match meter.look() {
        (0, _) => String::new(),
        (done, total) if done <= total => format!("{}%", done * 100 / total.max(1)),
        (done, _) => size(done),
    }
}

/// Shows one event of a build.
fn show(progress: &mut Progress, event: Build) {
    let at_us = progress.now_us();
    match event {
        Build::Started { id, title } => progress.started(&id, &title, None, at_us),
        Build::Update { id, detail } => progress.detail(&id, &detail),
        Build::Finished { id, cached: true } => progress.forget(&id, at_us),
        Build::Finished { id, cached: false } => progress.finished(&id, at_us),
        Build::Note { text } => progress.note(&text),
    }
}
