//! The shape of an Avro schema: enough to walk over encoded rows without decoding them.
//!
//! Every block is walked before it is decoded. The decoder trusts its input further than a file can be trusted: it does
//! not end when a block has more bytes than rows, passes over half a block, and trusts lengths. What has been walked
//! holds exactly the rows it says, each value within its bounds.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

/// Types in a schema, named ones counted each time they are used; more of them make no table.
const MOST_TYPES: usize = 10_000;
/// Items without bytes, as in an array of nulls, in one block.
const MOST_EMPTY_ITEMS: usize = 1 << 24;

/// A type, as far as its encoding goes.
#[derive(Debug, Clone)]
enum Shape {
    Null,
    Boolean,
    Int,
    Long,
    Fixed(usize),
    Bytes,
    Text,
    Enum(usize),
    Array(Arc<Shape>),
    Map(Arc<Shape>),
    Union(Vec<Arc<Shape>>),
    Record(Vec<Arc<Shape>>),
}

/// The rows of a file.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    row: Arc<Shape>,
}

impl Rows {
    /// Reads the schema of a file, whose rows must be records.
    ///
    /// # Errors
    /// In words, when it is none, or one that cannot be a table.
    pub(crate) fn new(schema: &[u8]) -> Result<Self, String> {
        let schema: Value = serde_json::from_slice(schema)
            .map_err(|error| format!("its schema is not JSON: {error}"))?;
        let mut parser = Parser::default();
        let row = parser.parse(&schema, "")?;
        match *row {
            Shape::Record(_) => Ok(Self { row }),
            _ => Err("its rows are not records".to_owned()),
        }
    }

    /// Walks over `count` rows, which must be all there is in `data`.
    ///
    /// # Errors
    /// The number of the row, counted from 0, and what is wrong with it.
    pub(crate) fn walk(&self, data: &[u8], count: usize) -> Result<(), (usize, String)> {
        if data.is_empty() && count > 0 {
            return Err((0, "it has no bytes, and a table needs columns".to_owned()));
        }
        let mut walk = Walk {
            bytes: Bytes::new(data),
            empty_items: 0,
        };
        for row in 0..count {
            walk.over(&self.row).map_err(|reason| (row, reason))?;
        }
        match walk.bytes.rest.len() {
            0 => Ok(()),
            more => Err((count, format!("{more} bytes follow the last row"))),
        }
    }
}

/// Encoded values from a position on.
#[derive(Debug)]
pub(crate) struct Bytes<'a> {
    pub(crate) rest: &'a [u8],
}

impl<'a> Bytes<'a> {
    pub(crate) fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    /// The next `count` bytes; `None` when there are fewer.
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    /// A number in zigzag encoding; `None` when the bytes end in it or it has more than 64 bits.
    pub(crate) fn long(&mut self) -> Option<i64> {
        let mut value = 0u64;
        for at in 0..10 {
            let byte = *self.take(1)?.first()?;
            if at == 9 && byte > 1 {
                return None;
            }
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                return Some((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        None
    }

    /// Bytes with their length before them.
    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.long()?).ok()?;
        self.take(length)
    }
}

struct Walk<'a> {
    bytes: Bytes<'a>,
    empty_items: usize,
}

impl Walk<'_> {
    fn over(&mut self, shape: &Shape) -> Result<(), String> {
        const SHORT: &str = "a value goes beyond the end of its block";
        match shape {
            Shape::Null => {}
            Shape::Boolean => match self.bytes.take(1).ok_or(SHORT)? {
                [0 | 1] => {}
                _ => return Err("a boolean is neither true nor false".to_owned()),
            },
            Shape::Int => {
                let value = self.bytes.long().ok_or(SHORT)?;
                i32::try_from(value).map_err(|_| format!("{value} is too large for an int"))?;
            }
            Shape::Long => {
                self.bytes.long().ok_or(SHORT)?;
            }
            Shape::Fixed(count) => {
                self.bytes.take(*count).ok_or(SHORT)?;
            }
            Shape::Bytes => {
                self.bytes.bytes().ok_or(SHORT)?;
            }
            Shape::Text => {
                let text = self.bytes.bytes().ok_or(SHORT)?;
                std::str::from_utf8(text)
                    .map_err(|error| format!("a string is no text: {error}"))?;
            }
            Shape::Enum(symbols) => {
                let index = self.bytes.long().ok_or(SHORT)?;
                if usize::try_from(index).is_ok_and(|index| index < *symbols) {
                    return Ok(());
                }
                return Err(format!(
                    "an enum has {symbols} symbols, and this is number {index}"
                ));
            }
            Shape::Array(item) => self.blocks(|walk| walk.over(item))?,
            Shape::Map(item) => self.blocks(|walk| {
                walk.over(&Shape::Text)?;
                walk.over(item)
            })?,
            Shape::Union(branches) => {
                let index = self.bytes.long().ok_or(SHORT)?;
                let branch = usize::try_from(index).ok();
                match branch.and_then(|index| branches.get(index)) {
                    Some(branch) => self.over(branch)?,
                    None => {
                        let count = branches.len();
                        return Err(format!(
                            "a union has {count} branches, and this is number {index}"
                        ));
                    }
                }
            }
            Shape::Record(fields) => {
                for field in fields {
                    self.over(field)?;
                }
            }
        }
        Ok(())
    }

    /// Items of an array or map, which come in blocks, up to an empty one.
    fn blocks(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        const SHORT: &str = "an array or a map goes beyond the end of its block";
        loop {
            let count = self.bytes.long().ok_or(SHORT)?;
            if count < 0 {
                // The length in bytes, for readers that pass over it.
                self.bytes.long().ok_or(SHORT)?;
            }
            if count == 0 {
                return Ok(());
            }
            for _ in 0..count.unsigned_abs() {
                let before = self.bytes.rest.len();
                item(self)?;
                self.empty_items += usize::from(self.bytes.rest.len() == before);
                if self.empty_items > MOST_EMPTY_ITEMS {
                    return Err("an array has too many items without bytes".to_owned());
                }
            }
        }
    }
}

#[derive(Default)]
struct Parser {
    /// Full names; without a shape while it is being read.
    named: HashMap<String, Option<(Arc<Shape>, usize)>>,
    types: usize,
}

impl Parser {
    fn parse(&mut self, schema: &Value, namespace: &str) -> Result<Arc<Shape>, String> {
        self.count(1)?;
        Ok(match schema {
            Value::String(name) => return self.by_name(name, namespace),
            Value::Array(branches) => {
                let branches = branches.iter().map(|branch| self.parse(branch, namespace));
                Arc::new(Shape::Union(branches.collect::<Result<_, _>>()?))
            }
            Value::Object(object) => {
                let kind = object
                    .get("type")
                    .ok_or("a type in its schema has no type")?;
                match kind.as_str() {
                    Some("array") => {
                        Arc::new(Shape::Array(self.inner(schema, "items", namespace)?))
                    }
                    Some("map") => Arc::new(Shape::Map(self.inner(schema, "values", namespace)?)),
                    Some(kind @ ("record" | "error" | "enum" | "fixed")) => {
                        return self.define(kind, schema, namespace);
                    }
                    // With a logical type, or without need.
                    _ => return self.parse(kind, namespace),
                }
            }
            _ => return Err("a type in its schema is neither a name nor an object".to_owned()),
        })
    }

    fn count(&mut self, types: usize) -> Result<(), String> {
        self.types = self.types.saturating_add(types);
        match self.types > MOST_TYPES {
            true => Err(format!("its schema has more than {MOST_TYPES} types")),
            false => Ok(()),
        }
    }

    fn inner(&mut self, schema: &Value, key: &str, namespace: &str) -> Result<Arc<Shape>, String> {
        let inner = schema.get(key);
        self.parse(
            inner.ok_or_else(|| format!("a type in its schema has no {key}"))?,
            namespace,
        )
    }

    fn by_name(&mut self, name: &str, namespace: &str) -> Result<Arc<Shape>, String> {
        Ok(Arc::new(match name {
            "null" => Shape::Null,
            "boolean" => Shape::Boolean,
            "int" => Shape::Int,
            "long" => Shape::Long,
            "float" => Shape::Fixed(4),
            "double" => Shape::Fixed(8),
            "bytes" => Shape::Bytes,
            "string" => Shape::Text,
            name => {
                let known = self.named.get(&full_name(name, namespace));
                match known.or_else(|| self.named.get(name)) {
                    Some(Some((shape, types))) => {
                        let (shape, types) = (Arc::clone(shape), *types);
                        self.count(types)?;
                        return Ok(shape);
                    }
                    Some(None) => {
                        return Err(format!(
                            "its type '{name}' contains itself, which no column can"
                        ));
                    }
                    None => return Err(format!("its schema has no type '{name}'")),
                }
            }
        }))
    }

    fn define(
        &mut self,
        kind: &str,
        schema: &Value,
        namespace: &str,
    ) -> Result<Arc<Shape>, String> {
        let text = |key: &str| schema.get(key).and_then(Value::as_str);
        let name = text("name").ok_or("a named type in its schema has no name")?;
        let namespace = text("namespace").unwrap_or(namespace);
        let name = full_name(name, namespace);
        let namespace = name
            .rsplit_once('.')
            .map_or("", |(before, _)| before)
            .to_owned();
        if self.named.insert(name.clone(), None).is_some() {
            return Err(format!("its schema has type '{name}' twice"));
        }
        let before = self.types;
        let shape = match kind {
            "enum" => {
                let symbols = schema.get("symbols").and_then(Value::as_array);
                Shape::Enum(symbols.ok_or("an enum in its schema has no symbols")?.len())
            }
            "fixed" => {
                let size = schema.get("size").and_then(Value::as_u64);
                let size = size.and_then(|size| usize::try_from(size).ok());
                Shape::Fixed(size.ok_or("a fixed type in its schema has no size")?)
            }
            _ => {
                let fields = schema.get("fields").and_then(Value::as_array);
                let fields = fields.ok_or("a record in its schema has no fields")?;
                let mut names = std::collections::HashSet::new();
                let mut shapes = Vec::with_capacity(fields.len());
                for field in fields {
                    let name = field.get("name").and_then(Value::as_str);
                    let name = name.ok_or("a field in its schema has no name")?;
                    if !names.insert(name) {
                        return Err(format!("its schema has field '{name}' twice"));
                    }
                    shapes.push(self.inner(field, "type", &namespace)?);
                }
                Shape::Record(shapes)
            }
        };
        let shape = Arc::new(shape);
        let types = self.types - before;
        self.named.insert(name, Some((Arc::clone(&shape), types)));
        Ok(shape)
    }
}

fn full_name(name: &str, namespace: &str) -> String {
    match namespace.is_empty() || name.contains('.') {
        true => name.to_owned(),
        false => format!("{namespace}.{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(field: &str) -> String {
        format!(
            r#"{{"type": "record", "name": "r", "fields": [{{"name": "f", "type": {field}}}]}}"#
        )
    }

    #[test]
    fn rows_are_walked_over_exactly_or_not_at_all() {
        let fixed = r#"{"type": "fixed", "name": "x", "size": 3}"#;
        let inner = r#"{"type": "record", "name": "in", "fields": [{"name": "a", "type": "int"}, {"name": "b", "type": ["null", "boolean"]}]}"#;
        for (field, data, rows) in [
            (r#""long""#, vec![0x02, 0x80, 0x01], 2),
            (r#"{"type": "int", "logicalType": "date"}"#, vec![0x01], 1),
            (
                r#"{"type": {"type": "string"}}"#,
                vec![0x04, b'a', b'b', 0x00],
                2,
            ),
            (
                r#"["null", "double"]"#,
                vec![0, 2, 1, 2, 3, 4, 5, 6, 7, 8],
                2,
            ),
            (fixed, vec![1, 2, 3], 1),
            (
                r#"{"type": "enum", "name": "e", "symbols": ["A", "B"]}"#,
                vec![0x02],
                1,
            ),
            (
                r#"{"type": "array", "items": "int"}"#,
                vec![4, 2, 4, 1, 4, 6, 0],
                1,
            ),
            (r#"{"type": "array", "items": "null"}"#, vec![6, 0, 0], 2),
            (
                r#"{"type": "map", "values": "bytes"}"#,
                vec![2, 2, b'k', 2, 0xff, 0],
                1,
            ),
            (inner, vec![2, 0, 4, 2, 1], 2),
        ] {
            let shape = Rows::new(record(field).as_bytes()).unwrap();
            assert_eq!(shape.walk(&data, rows), Ok(()), "{field}");
            let fewer = shape.walk(&data[..data.len() - 1], rows);
            assert!(fewer.is_err(), "{field}");
            let more = [data.as_slice(), &[0xff]].concat();
            assert!(shape.walk(&more, rows).is_err(), "{field}");
        }
        for (field, data) in [
            (r#""boolean""#, vec![2]),
            (r#""int""#, vec![0x80, 0x80, 0x80, 0x80, 0x10]),
            (r#""long""#, vec![0xff; 11]),
            (r#""string""#, vec![2, 0xff]),
            (r#""string""#, vec![1]),
            (
                r#"{"type": "enum", "name": "e", "symbols": ["A", "B"]}"#,
                vec![0x04],
            ),
            (r#"["null", "int"]"#, vec![0x04]),
            (r#"["null", "int"]"#, vec![0x01]),
            (
                r#"{"type": "array", "items": "null"}"#,
                vec![0xfe, 0xff, 0xff, 0xff, 0xff, 0x0f],
            ),
            (r#""null""#, vec![]),
        ] {
            let shape = Rows::new(record(field).as_bytes()).unwrap();
            assert!(shape.walk(&data, 1).is_err(), "{field}");
        }
    }

    #[test]
    fn names_are_found_again_in_their_namespace() {
        let schema = r#"{"type": "record", "name": "a.r", "fields": [
            {"name": "x", "type": {"type": "fixed", "name": "f", "size": 1}},
            {"name": "y", "type": "f"}, {"name": "z", "type": "a.f"}]}"#;
        let shape = Rows::new(schema.as_bytes()).unwrap();
        assert_eq!(shape.walk(&[1, 2, 3], 1), Ok(()));
    }

    #[test]
    fn a_schema_that_makes_no_table_is_refused() {
        let itself =
            r#"{"type": "record", "name": "r", "fields": [{"name": "n", "type": ["null", "r"]}]}"#;
        let mut doubling = r#"{"type": "record", "name": "r0", "fields": []}"#.to_owned();
        for level in 1..30 {
            doubling = format!(
                r#"{{"type": "record", "name": "r{level}", "fields": [
                    {{"name": "a", "type": {doubling}}}, {{"name": "b", "type": "r{}"}}]}}"#,
                level - 1
            );
        }
        let twice = r#"{"type": "record", "name": "r", "fields": [{"name": "n", "type": "int"}, {"name": "n", "type": "int"}]}"#;
        for (schema, reason) in [
            ("nonsense", "not JSON"),
            (r#""long""#, "not records"),
            (itself, "contains itself"),
            (&doubling, "more than 10000 types"),
            (twice, "field 'n' twice"),
            (&record(r#""unheard_of""#), "no type 'unheard_of'"),
            (&record(r#"{"type": "array"}"#), "no items"),
            (&record("7"), "neither a name nor an object"),
        ] {
            let error = Rows::new(schema.as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
