//! YAML with the place of every value.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;

use super::ambiguous;

/// Line and column, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: u64,
    /// Column.
    pub column: u64,
}

/// A position in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Name of the file, as it was given.
    pub file: String,
    /// Position in it.
    pub position: Position,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.position.line, self.position.column)
    }
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) position: Position,
    pub(super) content: Content,
}

#[derive(Debug, Clone)]
pub(super) enum Content {
    Scalar(Value),
    List(Vec<Node>),
    /// Each key with its place.
    Map(Vec<(String, Position, Node)>),
}

/// A document that is not YAML.
pub(super) struct TextFault<'a> {
    pub(super) position: Position,
    pub(super) message: String,
    /// The text of the document.
    pub(super) text: &'a str,
}

/// Every document of a text that can be read, and every one that cannot.
pub(super) fn parse_all(text: &str) -> (Vec<Node>, Vec<TextFault<'_>>) {
    if let Ok(documents) = parse(text) {
        return (documents, Vec::new());
    }
    let (mut documents, mut faults) = (Vec::new(), Vec::new());
    for (line, document) in split(text) {
        // Blank lines in front keep the numbers of the lines.
        let padded = format!("{}{document}", "\n".repeat(line));
        match parse(&padded) {
            Ok(found) => documents.extend(found),
            Err((position, message)) => faults.push(TextFault { position, message, text: document }),
        }
    }
    (documents, faults)
}

/// The documents of a text, each with the number of lines before it.
fn split(text: &str) -> Vec<(usize, &str)> {
    let mut parts = Vec::new();
    let (mut start, mut first_line, mut offset) = (0, 0, 0_usize);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if line.trim_end() == "---" || line.starts_with("--- ") {
            parts.push((first_line, text.get(start..offset).unwrap_or_default()));
            (start, first_line) = (offset, number);
        }
        offset = offset.saturating_add(line.len());
    }
    parts.push((first_line, text.get(start..).unwrap_or_default()));
    parts
}

fn parse(text: &str) -> Result<Vec<Node>, (Position, String)> {
    ambiguous::check_text(text)?;
    let documents = parse_yaml(text)?;
    ambiguous::check_values(text, &documents)?;
    Ok(documents)
}

fn parse_yaml(text: &str) -> Result<Vec<Node>, (Position, String)> {
    serde_saphyr::from_multiple::<Node>(text).map_err(|error| {
        let at = error
            .location()
            .map_or(Position { line: 1, column: 1 }, |at| Position { line: at.line(), column: at.column() });
        // The library says the place again and draws it below its first line; we say it once, in front.
        let message = error.to_string();
        let first = message.lines().next().unwrap_or_default();
        let bare = first.strip_prefix(&format!("error: line {} column {}: ", at.line, at.column)).unwrap_or(first);
        (at, bare.to_owned())
    })
}

/// The place of a line and column of a text that begins at `start`, as far as its form keeps them: a literal block (`|`)
/// does, a text on one line does when nothing in it is escaped.
pub(super) fn within(file: &str, start: Position, (line, column): (u64, u64)) -> Position {
    let line_at = |number: u64| {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        file.lines().nth(index)
    };
    // A block begins on the line below its mark.
    let mark = line_at(start.line.saturating_sub(1)).and_then(|above| above.split_whitespace().last());
    let skipped = usize::try_from(start.column).unwrap_or(usize::MAX).saturating_sub(1);
    let first = line_at(start.line).and_then(|text| text.chars().nth(skipped));
    let moved = start.column.saturating_add(column);
    match (mark.and_then(|mark| mark.chars().next()), first) {
        (Some('|'), _) => {
            let line = start.line.saturating_add(line).saturating_sub(1);
            Position { line, column: moved.saturating_sub(1) }
        }
        (Some('>'), _) => start,
        (_, Some('"' | '\'')) if line == 1 => Position { column: moved, ..start },
        (_, Some(_)) if line == 1 => Position { column: moved.saturating_sub(1), ..start },
        _ => start,
    }
}

impl Node {
    pub(super) fn to_value(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::List(items) => Value::Array(items.iter().map(Self::to_value).collect()),
            Content::Map(entries) => {
                let members = entries.iter().map(|(key, _, node)| (key.clone(), node.to_value()));
                Value::Object(members.collect::<Map<_, _>>())
            }
        }
    }

    /// The node of a field such as `items[0]`; the whole for an empty path.
    pub(super) fn at(&self, path: &str) -> Option<&Self> {
        let mut node = self;
        for step in steps(path) {
            node = node.child(step)?;
        }
        Some(node)
    }

    fn child(&self, step: &str) -> Option<&Self> {
        match (&self.content, step.strip_suffix(']')) {
            (Content::List(items), Some(index)) => index.parse::<usize>().ok().and_then(|index| items.get(index)),
            (Content::Map(entries), None) => entries.iter().find(|(key, _, _)| key == step).map(|(_, _, node)| node),
            _ => None,
        }
    }

    /// The place of a field such as `spec.rules[0].matches`, or of the deepest part of it that is there.
    pub(super) fn locate(&self, path: &str) -> Position {
        let mut node = self;
        for step in steps(path) {
            let Some(next) = node.child(step) else { break };
            node = next;
        }
        node.position
    }
}

fn steps(path: &str) -> impl Iterator<Item = &str> {
    path.split(['.', '[']).filter(|step| !step.is_empty())
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Content>::deserialize(deserializer)?;
        let position = Position { line: spanned.referenced.line(), column: spanned.referenced.column() };
        Ok(Self { position, content: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Content, E> {
        Ok(Content::Scalar(Number::from_f64(value).map_or(Value::Null, Value::Number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
        Content::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Content, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Node>()? {
            list.push(item);
        }
        Ok(Content::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Content, A::Error> {
        let mut map = Vec::new();
        while let Some((key, node)) = entries.next_entry::<Spanned<String>, Node>()? {
            let position = Position { line: key.referenced.line(), column: key.referenced.column() };
            map.push((key.value, position, node));
        }
        Ok(Content::Map(map))
    }
}
