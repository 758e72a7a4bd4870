//! Where in the file a value stands: `nodes.w-1.labels`, `manifests[0]`.

use std::fmt;

/// One step down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// A field of a mapping.
    Key(String),
    /// An element of a list, from 0.
    Index(usize),
}

/// The path of a field, or the name of an argument on the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldPath {
    argument: Option<String>,
    segments: Vec<Segment>,
}

impl FieldPath {
    /// The whole file.
    #[must_use]
    pub fn root() -> Self {
        FieldPath::default()
    }

    /// An argument of the command line: `--workers`.
    #[must_use]
    pub fn argument(name: &str) -> Self {
        FieldPath {
            argument: Some(name.to_owned()),
            segments: Vec::new(),
        }
    }

    /// A field below.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.below(Segment::Key(key.to_owned()))
    }

    /// An element below.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.below(Segment::Index(index))
    }

    /// The steps from the root; none for an argument.
    pub(crate) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    fn below(&self, segment: Segment) -> Self {
        let mut path = self.clone();
        path.segments.push(segment);
        path
    }
}

/// Keys that hold more than letters, digits, `-` and `_` are written in brackets: `labels["example.com/gpu"]`.
impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(argument) = &self.argument {
            return f.write_str(argument);
        }
        for (depth, segment) in self.segments.iter().enumerate() {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            match segment {
                Segment::Key(key) if !key.is_empty() && key.chars().all(plain) => {
                    write!(f, "{}{key}", if depth == 0 { "" } else { "." })?;
                }
                Segment::Key(key) => write!(f, "[{key:?}]")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_well() {
        let root = FieldPath::root();
        assert_eq!(
            root.key("nodes").key("w-9").key("labels").to_string(),
            "nodes.w-9.labels"
        );
        assert_eq!(
            root.key("labels").key("example.com/gpu").to_string(),
            r#"labels["example.com/gpu"]"#
        );
        assert_eq!(
            root.key("manifests").index(1).key("content").to_string(),
            "manifests[1].content"
        );
        assert_eq!(FieldPath::argument("--workers").to_string(), "--workers");
    }
}
