//! Making images with their progress shown: node images for `vial node-image build` and for the first `vial up`, base images
//! for `vial image debian`.

use std::sync::{Mutex, PoisonError};

use vial_image::{BuildOptions, NodeImage, Progress as Build, Store};

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
