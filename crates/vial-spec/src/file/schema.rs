//! The JSON schema of `vial.yaml`, for editors.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::File;

/// The JSON schema (draft 2020-12) that `docs/vial.schema.json` holds.
#[must_use]
pub fn schema() -> Value {
    let schema = SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<File>();
    schema.to_value()
}
