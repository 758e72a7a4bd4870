//! The JSON schema of `vial.yaml`, for editors.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::File;

/// The JSON schema (draft 2020-12) that `docs/vial.schema.json` holds.
#[must_use]
pub fn schema() -> Value {
    let schema = SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<File>();
    let mut value = schema.to_value();
    unwrap_lines(&mut value);
    let Value::Object(mut fields) = value else {
        return value;
    };
    fields.insert("title".to_owned(), "vial.yaml".into());
    // What a reader looks for first, first.
    let mut sorted = Map::new();
    for key in ["$schema", "title", "description"] {
        sorted.extend(fields.remove(key).map(|value| (key.to_owned(), value)));
    }
    let definitions = fields.remove("$defs");
    sorted.extend(fields);
    sorted.extend(definitions.map(|value| ("$defs".to_owned(), value)));
    Value::Object(sorted)
}

/// Descriptions come from doc comments, whose lines end where the source's do; editors wrap by themselves.
fn unwrap_lines(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(text)) = fields.get_mut("description") {
                *text = text
                    .replace("\n\n", "\0")
                    .replace('\n', " ")
                    .replace('\0', "\n\n");
            }
            fields.values_mut().for_each(unwrap_lines);
        }
        Value::Array(values) => values.iter_mut().for_each(unwrap_lines),
        _ => {}
    }
}
