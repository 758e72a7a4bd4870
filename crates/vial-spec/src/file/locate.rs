//! Where in the text a field is written, for errors found after parsing.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use crate::validate::{FieldPath, Segment};

/// A place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    /// From 1.
    pub(crate) line: u64,
    /// From 1, in characters.
    pub(crate) column: u64,
}

/// Any YAML, with the places of keys and elements.
enum Node {
    Leaf,
    Mapping(Vec<(Spanned<String>, Node)>),
    List(Vec<Spanned<Node>>),
}

/// Knows where the fields of a text stand.
///
/// Made when the first problem is found: most files have none.
pub(crate) struct Places(Option<Node>);

impl Places {
    pub(crate) fn of(text: &str) -> Self {
        Places(serde_saphyr::from_str(text).ok())
    }

    /// The place of the field, or of the nearest one above it that is written.
    pub(crate) fn find(&self, path: &FieldPath) -> Option<Position> {
        find(self.0.as_ref()?, path)
    }
}

fn find(root: &Node, path: &FieldPath) -> Option<Position> {
    let mut node = root;
    let mut place: Option<Location> = None;
    for segment in path.segments() {
        let next = match (node, segment) {
            (Node::Mapping(fields), Segment::Key(key)) => fields
                .iter()
                .find(|(name, _)| name.value == *key)
                .map(|(name, node)| (name.referenced, node)),
            (Node::List(elements), Segment::Index(index)) => elements
                .get(*index)
                .map(|element| (element.referenced, &element.value)),
            _ => None,
        };
        let Some((found, below)) = next else { break };
        place = Some(found);
        node = below;
    }
    place.map(|place| Position {
        line: place.line(),
        column: place.column(),
    })
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyNode)
    }
}

struct AnyNode;

impl<'de> Visitor<'de> for AnyNode {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_none<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element()? {
            elements.push(element);
        }
        Ok(Node::List(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Node::Mapping(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_where_they_are_written() {
        let text = "a: 1\nb:\n  c:\n    - x\n    - d: [1, 2]\n      e: ~\n";
        let at = |path: FieldPath| Places::of(text).find(&path).map(|p| (p.line, p.column));
        let root = FieldPath::root();
        assert_eq!(at(root.key("a")), Some((1, 1)));
        assert_eq!(at(root.key("b").key("c")), Some((3, 3)));
        assert_eq!(at(root.key("b").key("c").index(0)), Some((4, 7)));
        assert_eq!(
            at(root.key("b").key("c").index(1).key("d").index(1)),
            Some((5, 14))
        );
        assert_eq!(at(root.key("b").key("c").index(1).key("e")), Some((6, 7)));
        assert_eq!(
            at(root.key("b").key("missing").key("x")),
            Some((2, 1)),
            "the nearest one above"
        );
        assert_eq!(at(root.key("missing")), None);
        assert_eq!(at(root), None);
    }
}
