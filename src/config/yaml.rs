//! YAML as a tree with line numbers.
//!
//! serde stops at the first value of a wrong type, but the configuration reports all of them. So a
//! file is parsed into this tree, which accepts any YAML, and then compared with the table of keys.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::NonFiniteFloatPolicy;
use serde_saphyr::{DuplicateKeyPolicy, Error, MergeKeyPolicy, Spanned};

/// Any YAML value.
///
/// No `Debug`: it may hold a password.
pub(super) enum Node {
    Null,
    Boolean(bool),
    Integer(i128),
    /// A fraction, or an integer with too many digits.
    Float,
    Text(String),
    List(Vec<Self>),
    /// The entries in the order of the file. A name may occur more than once.
    Section(Vec<Entry>),
}

/// A name and its value in a [`Node::Section`].
pub(super) struct Entry {
    pub name: String,
    /// Line of the name, from 1.
    pub line: u64,
    pub node: Node,
}

impl Node {
    /// Describes the type of the value for a message.
    pub(super) const fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean(_) => "true or false",
            Self::Integer(_) => "a number",
            Self::Float => "a fraction or a number with too many digits",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Section(_) => "a section",
        }
    }
}

/// Parses one document. An empty one is [`Node::Null`].
///
/// # Errors
///
/// Returns the line where the text stops being YAML. The library's own message is dropped: it may
/// quote the text around the error, which may be a password.
pub(super) fn parse(text: &str) -> Result<Node, Option<u64>> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        // `source.rs` reports these together with all other problems.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::AsOrdinary,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
    };
    serde_saphyr::from_str_with_options(text, options)
        .map_err(|error: Error| error.location().map(|location| location.line()))
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Boolean(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Integer(value.into()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Float)
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(Node::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some((name, node)) = map.next_entry::<Spanned<String>, Node>()? {
            entries.push(Entry {
                line: name.referenced.line(),
                name: name.value,
                node,
            });
        }
        Ok(Node::Section(entries))
    }
}
