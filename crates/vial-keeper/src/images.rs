//! The container images of the cluster: brought to its nodes, listed, taken away.
//!
//! What the nodes shall have is in the cluster's image store, which the command line writes under the store's lock; the
//! keeper takes it from there. One delivery or removal at a time ([`Keeper::images`]), and none while an `up` brings
//! nodes what they lack. A delivery belongs to the keeper: a client that goes away does not stop it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use vial_engine::images::{self, Cluster, pulling};
use vial_image::load::ImageName;
use vial_image::means::is_means;
use vial_image::{Digest, Store};

use crate::api::{Event, ImagesRequest};
use crate::keeper::{Keeper, View};
use crate::operation::{By, Kind, Operation};
use crate::server::{lines, not_running};
use crate::{failure, means};

/// `GET /v1/images`.
pub(crate) async fn list(State(keeper): State<Arc<Keeper>>) -> Response {
    let Some(living) = keeper.living() else {
        return not_running(&keeper);
    };
    let shipped = shipped(&keeper);
    match images::list(cluster(&keeper, &living), &shipped).await {
        Ok(images) => Json(images).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, failure::chain(&error)).into_response(),
    }
}

/// `POST /v1/images/deliver`.
pub(crate) async fn deliver(
    State(keeper): State<Arc<Keeper>>,
    Json(request): Json<ImagesRequest>,
) -> Response {
    run(keeper, Task::Deliver(request.names))
}

/// `POST /v1/images/remove`.
pub(crate) async fn remove(
    State(keeper): State<Arc<Keeper>>,
    Json(request): Json<ImagesRequest>,
) -> Response {
    run(keeper, Task::Remove(request.names))
}

enum Task {
    /// Images of the store come to the nodes.
    Deliver(Vec<ImageName>),
    /// Names go from the nodes.
    Remove(Vec<ImageName>),
}

/// Does the task in one of its own, and answers with what it tells.
fn run(keeper: Arc<Keeper>, task: Task) -> Response {
    let Some(living) = keeper.living() else {
        return not_running(&keeper);
    };
    let operation = Operation::new(Kind::Images, By::Person);
    let events = operation.events();
    // Pods of this cluster rely on it: it comes back by itself.
    let takes_the_means = match &task {
        Task::Remove(names) => names.iter().any(|name| is_means(name.as_str())),
        Task::Deliver(_) => false,
    };
    tokio::spawn(async move {
        let _turn = keeper.images.lock().await;
        let done = tokio::select! {
            done = work(&keeper, &living, task, &operation) => done,
            () = living.sandbox.ended() => Err(vial_engine::Error::Ended),
        };
        operation.tell(match done {
            Ok(()) => Event::Done { status: None },
            Err(error) => failure::event(&keeper.name, &error),
        });
        if takes_the_means {
            means::begin(&keeper);
        }
    });
    lines(events)
}

async fn work(
    keeper: &Keeper,
    living: &View,
    task: Task,
    operation: &Arc<Operation>,
) -> vial_engine::Result<()> {
    let cluster = cluster(keeper, living);
    match task {
        Task::Deliver(names) => {
            let mut images = cluster.store().images()?;
            images.retain(|image| names.contains(&image.name));
            images::deliver(cluster, &images, &operation.reporter()).await?;
            for text in pulled_all_the_same(keeper, living, &names).await {
                operation.tell(Event::Note { text });
            }
            Ok(())
        }
        Task::Remove(names) => {
            let counts = images::remove(cluster, &names, &shipped(keeper)).await?;
            for (name, nodes) in names.iter().zip(counts) {
                let name = name.to_string();
                operation.tell(Event::Removed { name, nodes });
            }
            // A name that stays there only keeps pods from asking a registry.
            let _ = pulling::tell(&living.client, &cluster.store()).await;
            Ok(())
        }
    }
}

/// Tells the API of the images, and people of those that pods would be pulled for all the same: the images are there, so it
/// is no failure.
async fn pulled_all_the_same(keeper: &Keeper, living: &View, names: &[ImageName]) -> Vec<String> {
    let store = cluster(keeper, living).store();
    let told = pulling::tell(&living.client, &store).await.is_ok();
    let mut notes = Vec::new();
    for name in names.iter().filter(|name| name.is_latest()) {
        if !told || !pulling::fits(&living.client, name).await {
            notes.push(format!(
                "pods need `imagePullPolicy: IfNotPresent` to take {name} from the node"
            ));
        }
    }
    notes
}

/// The living cluster, as far as its images are concerned.
pub(crate) fn cluster<'a>(keeper: &'a Keeper, living: &'a View) -> Cluster<'a> {
    Cluster {
        paths: &keeper.paths,
        name: &keeper.name,
        plan: &living.plan,
        sandbox: living.sandbox.as_ref(),
    }
}

/// What came with the node image. When that is damaged, everything is told as if it had been pulled.
fn shipped(keeper: &Keeper) -> Vec<(String, Digest)> {
    let record = keeper.record().ok().flatten();
    let image = record.and_then(|record| {
        let store = Store::open(&keeper.paths.home).ok()?;
        store.find(&record.image_digest).ok()
    });
    image.map_or_else(Vec::new, |image| images::shipped(&image))
}
