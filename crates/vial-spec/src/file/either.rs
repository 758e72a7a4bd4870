//! Fields that may be written in more than one form, each with its own visitor.
//!
//! Not serde's untagged enums: those swallow the position and the reason of what is wrong inside.

use std::fmt;

use schemars::JsonSchema;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize as DeriveDeserialize, Serialize};

use super::{FullTaint, InlineManifest, WorkerGroup};

/// `workers: 2`, or a mapping.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Workers {
    /// Only how many.
    Count(#[schemars(range(max = 20))] u64),
    /// How many, and what they have in common.
    Group(Box<WorkerGroup>),
}

/// CIDRs separated by commas, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum CidrList {
    /// `10.244.0.0/16,fd00:10:244::/56`
    Text(String),
    /// `[10.244.0.0/16, "fd00:10:244::/56"]`
    List(Vec<String>),
}

impl CidrList {
    /// The single texts, not trimmed.
    pub(crate) fn texts(&self) -> Vec<&str> {
        match self {
            CidrList::Text(text) => text.split(',').collect(),
            CidrList::List(list) => list.iter().map(String::as_str).collect(),
        }
    }
}

/// A file's path, or the manifest itself.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ManifestEntry {
    /// A file of the host, relative to the directory of vial.yaml.
    Path(String),
    /// Written in place.
    Inline(InlineManifest),
}

/// `KEY=VALUE:EFFECT` as kubectl has it, or a mapping.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum TaintEntry {
    /// `KEY=VALUE:EFFECT` or `KEY:EFFECT`.
    Text(String),
    /// Key, value and effect.
    Full(FullTaint),
}

/// Text; a number, `true` and `false` are taken as they are written.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, DeriveDeserialize)]
#[serde(transparent)]
pub struct Scalar(pub String);

impl From<&str> for Scalar {
    fn from(text: &str) -> Self {
        Scalar(text.to_owned())
    }
}

impl JsonSchema for Scalar {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Scalar".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

impl<'de> Deserialize<'de> for Workers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = Workers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of workers or a mapping with count, labels, taints, driver, vm, mounts, files, components")
            }

            fn visit_u64<E: Error>(self, count: u64) -> Result<Workers, E> {
                Ok(Workers::Count(count))
            }

            fn visit_i64<E: Error>(self, count: i64) -> Result<Workers, E> {
                let count = u64::try_from(count)
                    .map_err(|_| E::invalid_value(Unexpected::Signed(count), &self))?;
                self.visit_u64(count)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Workers, A::Error> {
                WorkerGroup::deserialize(MapAccessDeserializer::new(map))
                    .map(|group| Workers::Group(Box::new(group)))
            }
        }
        deserializer.deserialize_any(Form)
    }
}

impl<'de> Deserialize<'de> for CidrList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = CidrList;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("CIDRs separated by commas or a list of them")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<CidrList, E> {
                Ok(CidrList::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<CidrList, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(CidrList::List)
            }
        }
        deserializer.deserialize_any(Form)
    }
}

impl<'de> Deserialize<'de> for ManifestEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = ManifestEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a file's path or a mapping with name and content")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<ManifestEntry, E> {
                Ok(ManifestEntry::Path(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ManifestEntry, A::Error> {
                InlineManifest::deserialize(MapAccessDeserializer::new(map))
                    .map(ManifestEntry::Inline)
            }
        }
        deserializer.deserialize_any(Form)
    }
}

impl<'de> Deserialize<'de> for TaintEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = TaintEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("KEY=VALUE:EFFECT or a mapping with key, value and effect")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<TaintEntry, E> {
                Ok(TaintEntry::Text(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TaintEntry, A::Error> {
                FullTaint::deserialize(MapAccessDeserializer::new(map)).map(TaintEntry::Full)
            }
        }
        deserializer.deserialize_any(Form)
    }
}
