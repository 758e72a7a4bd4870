//! An engine's daemon, asked at its socket where its program is not installed (Docker Engine API, "Export an image";
//! podman answers it too).

use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use reqwest::{Client, Response, StatusCode};
use tokio::runtime::Handle;

use super::Refusal;
use crate::load::meter::{Meter, interrupted};

/// How often it is looked whether the person has had enough of waiting.
const PATIENCE: Duration = Duration::from_millis(100);

/// The body of an answer.
pub(super) struct Socket<'a> {
    runtime: Handle,
    response: Response,
    /// What came and was not read yet.
    piece: io::Cursor<Vec<u8>>,
    meter: &'a Meter,
}

impl<'a> Socket<'a> {
    /// Asks for an image; `None` when nobody listens there, or there is no runtime to wait in.
    pub(super) fn get(
        socket: &Path,
        image: &str,
        meter: &'a Meter,
    ) -> Result<Option<Self>, Refusal> {
        let Ok(runtime) = Handle::try_current() else {
            return Ok(None);
        };
        if !socket.exists() {
            return Ok(None);
        }
        crate::install_crypto();
        let client = Client::builder().unix_socket(socket.to_path_buf()).build();
        let url = format!("http://localhost/images/{image}/get");
        let asked = runtime.block_on(async {
            let response = client?.get(url).send().await?;
            let status = response.status();
            if status.is_success() {
                return Ok((status, Ok(response)));
            }
            Ok::<_, reqwest::Error>((status, Err(response.text().await?)))
        });
        match asked.map_err(|error| vial_sys::error_chain(&error))? {
            (_, Ok(response)) => Ok(Some(Self {
                runtime,
                response,
                piece: io::Cursor::default(),
                meter,
            })),
            (status, Err(body)) => Err(reason(status, &body)),
        }
    }
}

impl Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.piece.read(buffer)? {
                0 => {}
                n => return Ok(n),
            }
            if self.meter.is_cancelled() {
                return Err(interrupted());
            }
            let chunk = self.response.chunk();
            let waited = async { tokio::time::timeout(PATIENCE, chunk).await };
            match self.runtime.block_on(waited) {
                Err(_elapsed) => {}
                Ok(Err(error)) => return Err(io::Error::other(error)),
                Ok(Ok(None)) => return Ok(0),
                Ok(Ok(Some(chunk))) => self.piece = io::Cursor::new(chunk.to_vec()),
            }
        }
    }
}

/// `{"message": "No such image: x"}`.
fn reason(status: StatusCode, body: &str) -> Refusal {
    let value: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let message = value.as_ref().and_then(|value| value["message"].as_str());
    message.map_or_else(|| status.to_string(), str::to_owned)
}
