//! A request that is not granted: an HTTP status, and why, in words for people ([`Refusal`] as JSON).

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::api::Refusal;
use crate::failure;
use crate::ports::{Conflict, Taken};
use crate::reach::Unreachable;

/// Why a request is not granted. Nothing was changed.
#[derive(Debug)]
pub(crate) struct Refused {
    status: StatusCode,
    refusal: Refusal,
}

impl Refused {
    pub(crate) fn new(status: StatusCode, message: String, hint: Option<String>) -> Self {
        let refusal = Refusal { message, hint };
        Self { status, refusal }
    }

    /// Only a living sandbox can grant it.
    pub(crate) fn stopped(cluster: &str) -> Self {
        let message = format!("cluster {cluster} does not run");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message, None)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.status, Json(self.refusal)).into_response()
    }
}

impl From<Unreachable> for Refused {
    fn from(error: Unreachable) -> Self {
        let status = match error {
            Unreachable::Unknown { .. } => StatusCode::NOT_FOUND,
            Unreachable::Unsuitable(_) => StatusCode::BAD_REQUEST,
            Unreachable::NotReady(_) | Unreachable::Failed { .. } => StatusCode::BAD_GATEWAY,
        };
        let hint = error.hint().map(str::to_owned);
        Self::new(status, error.to_string(), hint)
    }
}

impl From<Conflict> for Refused {
    fn from(error: Conflict) -> Self {
        Self::new(StatusCode::CONFLICT, error.to_string(), Some(error.hint()))
    }
}

impl From<Taken> for Refused {
    fn from(error: Taken) -> Self {
        let hint = Some(error.hint());
        Self::new(StatusCode::CONFLICT, error.to_string(), hint)
    }
}

impl From<vial_engine::Error> for Refused {
    fn from(error: vial_engine::Error) -> Self {
        let message = failure::chain(&error);
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message, error.hint())
    }
}
