//! Which containers run, told by the first process.

use std::io;

use vial_rpc::container_status::State;
use vial_rpc::init_client::InitClient;
use vial_rpc::{Channel, ContainerStatus, ListContainersRequest};

/// The container of this name, if it runs.
pub(crate) async fn find(init: Channel, container: &str) -> io::Result<Option<ContainerStatus>> {
    let mut init = InitClient::new(init);
    let listed = init.list_containers(ListContainersRequest {}).await;
    let listed = listed.map_err(io::Error::other)?.into_inner();
    let mut containers = listed.containers.into_iter();
    Ok(containers.find(|one| one.name == container && one.state() == State::Running))
}
