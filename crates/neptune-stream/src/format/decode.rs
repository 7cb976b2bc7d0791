//! Turns records into batches with arrow's decoders, and says what is wrong with a record that will not do.

use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::csv::reader as csv;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::reader as json;

use crate::error::StreamError;
use crate::format::records::{csv_fields, trim_end_of_line};
use crate::format::{CsvOptions, Format};
use crate::source::FileEntry;

/// JSON nested deeper than this is turned down: arrow's messages about a value recurse into it.
const MAX_DEPTH: usize = 256;
/// Shorter records cannot be nested so deep that it matters.
const CHECK_DEPTH_FROM: usize = 1024;
/// Bytes of a long record decoded between two yield points.
const PIECE_BYTES: usize = 64 << 10;
/// Characters of a reason: arrow's repeat the value, however long it is.
const REASON_CHARS: usize = 300;

/// How the columns a query wants lie in the records of one file.
#[derive(Debug)]
pub(crate) struct Layout {
    format: Format,
    delimiter: u8,
    /// What the decoder is told. JSON: the wanted columns. CSV: all fields of the file, in its order.
    /// NULL is allowed in each: [`RowDecoder::finish`] checks, to be able to name the column.
    decoded: SchemaRef,
    /// CSV: the wanted fields.
    projection: Vec<usize>,
    /// The wanted columns as they come out.
    wanted: SchemaRef,
}

/// Why a record was turned down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) column: Option<String>,
    pub(crate) reason: String,
}

impl Layout {
    /// Every record is an object with the columns as fields.
    pub(crate) fn json(wanted: &SchemaRef) -> Self {
        Self {
            format: Format::Json,
            delimiter: b',',
            decoded: nullable(wanted),
            projection: vec![],
            wanted: Arc::clone(wanted),
        }
    }

    /// The fields of every record are the columns of `table`, or those which `header` names.
    ///
    /// # Errors
    /// [`StreamError::Malformed`] when the header lacks a wanted column.
    pub(crate) fn csv(
        table: &SchemaRef,
        wanted: &SchemaRef,
        options: CsvOptions,
        header: Option<&[u8]>,
        file: &FileEntry,
    ) -> Result<Self, StreamError> {
        let decoded = match header {
            None => nullable(table),
            Some(record) => {
                let fields = csv_fields(record, options.delimiter).into_iter();
                let fields = fields.map(|name| match table.field_with_name(name.trim()) {
                    Ok(field) => field.clone().with_nullable(true),
                    Err(_) => Field::new(name, DataType::Utf8, true),
                });
                Arc::new(Schema::new(fields.collect::<Vec<_>>()))
            }
        };
        let refused = |field: &Field, reason: String| StreamError::Malformed {
            file: file.path.clone(),
            line: Some(1),
            column: Some(field.name().clone()),
            reason,
        };
        let find = |field: &Arc<Field>| {
            let fields = decoded.fields().iter().enumerate();
            let mut found = fields.filter(|(_, own)| own.name() == field.name());
            match (found.next(), found.next()) {
                (Some((index, _)), None) => Ok(index),
                (Some(_), Some(_)) => Err(refused(
                    field,
                    "the header has this column twice".to_owned(),
                )),
                (None, _) => {
                    let reason =
                        format!("the header has no such column; it has {}", names(&decoded));
                    Err(refused(field, reason))
                }
            }
        };
        let projection = wanted.fields().iter().map(find).collect::<Result<_, _>>()?;
        Ok(Self {
            format: Format::Csv,
            delimiter: options.delimiter,
            decoded,
            projection,
            wanted: Arc::clone(wanted),
        })
    }

    /// What is wrong with `record`; `None` when it can be decoded.
    pub(crate) fn fault(&self, record: &[u8]) -> Option<Fault> {
        let fault = self.find_fault(record)?;
        Some(Fault {
            reason: shortened(fault.reason),
            ..fault
        })
    }

    fn find_fault(&self, record: &[u8]) -> Option<Fault> {
        let whole = self.decode_one(record, &self.projection, &self.decoded, &self.wanted);
        let general = whole.err()?;
        let none = Arc::new(Schema::empty());
        let shape = match self.format {
            Format::Csv => self.decode_one(record, &[], &self.decoded, &none),
            _ => self.decode_one(record, &[], &none, &none),
        };
        if let Err(reason) = shape {
            return Some(Fault {
                column: None,
                reason,
            });
        }
        // The record is sound as such: one of its values is not.
        for (index, field) in self.wanted.fields().iter().enumerate() {
            let wanted = Arc::new(Schema::new(vec![Arc::clone(field)]));
            let outcome = match self.projection.get(index) {
                Some(at) => self.decode_one(record, &[*at], &self.decoded, &wanted),
                None => self.decode_one(record, &[], &nullable(&wanted), &wanted),
            };
            if let Err(reason) = outcome {
                let (path, reason) = self.explain(record, index, field, &reason);
                return Some(Fault {
                    column: Some(path),
                    reason,
                });
            }
        }
        Some(Fault {
            column: None,
            reason: general,
        })
    }

    fn decode_one(
        &self,
        record: &[u8],
        projection: &[usize],
        decoded: &SchemaRef,
        wanted: &SchemaRef,
    ) -> Result<(), String> {
        let inner = Inner::new(self, projection, decoded, 1)?;
        let mut decoder = RowDecoder {
            inner,
            wanted: Arc::clone(wanted),
            fields: decoded.fields().len(),
            delimiter: self.delimiter,
            capacity: 1,
        };
        decoder.push(record)?;
        decoder.finish().map(|_| ())
    }

    /// The path of the faulty value, and the reason in words that do not repeat it.
    fn explain(
        &self,
        record: &[u8],
        index: usize,
        field: &Field,
        reason: &str,
    ) -> (String, String) {
        if reason == NULL_REASON {
            return (field.name().clone(), reason.to_owned());
        }
        if let Some(at) = self.projection.get(index) {
            let value = csv_fields(record, self.delimiter).into_iter().nth(*at);
            let value = value.unwrap_or_default();
            let reason = format!("'{value}' is not a value of type {}", field.data_type());
            return (field.name().clone(), reason);
        }
        // arrow writes: whilst decoding field 'a': whilst decoding field 'b': reason
        let (mut path, mut rest) = (Vec::new(), reason);
        while let Some((name, inner)) = rest
            .strip_prefix("whilst decoding field '")
            .and_then(|text| text.split_once("': "))
        {
            path.push(name);
            rest = inner;
        }
        if path.is_empty() {
            path.push(field.name());
        }
        (path.join("."), rest.to_owned())
    }
}

const NULL_REASON: &str = "NULL in a NOT NULL column";

/// Collects records and gives them back as a batch.
///
/// After an error the decoder is spent: arrow's decoders cannot take back half a record.
pub(crate) struct RowDecoder {
    inner: Inner,
    wanted: SchemaRef,
    fields: usize,
    delimiter: u8,
    capacity: usize,
}

enum Inner {
    Json(json::Decoder),
    Csv(Box<csv::Decoder>),
}

impl Inner {
    fn new(
        layout: &Layout,
        projection: &[usize],
        decoded: &SchemaRef,
        capacity: usize,
    ) -> Result<Self, String> {
        Ok(match layout.format {
            Format::Csv => Inner::Csv(Box::new(
                csv::ReaderBuilder::new(Arc::clone(decoded))
                    .with_header(false)
                    .with_delimiter(layout.delimiter)
                    .with_batch_size(capacity + 1)
                    .with_projection(projection.to_vec())
                    .build_decoder(),
            )),
            _ => Inner::Json(
                json::ReaderBuilder::new(Arc::clone(decoded))
                    .with_batch_size(capacity + 1)
                    .build_decoder()
                    .map_err(text)?,
            ),
        })
    }
}

/// A record on its way into a decoder.
pub(crate) struct Push<'r> {
    record: &'r [u8],
    /// The record as the decoder is given it.
    body: &'r [u8],
    at: usize,
    /// What the decoder said of the rows it held or had room for.
    before: usize,
    depth: Depth,
}

impl RowDecoder {
    /// A decoder for at most `capacity` records at a time.
    pub(crate) fn new(layout: &Layout, capacity: usize) -> Result<Self, String> {
        Ok(Self {
            inner: Inner::new(layout, &layout.projection, &layout.decoded, capacity)?,
            wanted: Arc::clone(&layout.wanted),
            fields: layout.decoded.fields().len(),
            delimiter: layout.delimiter,
            capacity,
        })
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Takes one record in, with or without its end of line.
    pub(crate) fn push(&mut self, record: &[u8]) -> Result<(), String> {
        let mut push = self.begin(record);
        while !self.step(&mut push)? {}
        Ok(())
    }

    /// Begins to take one record in, piece by piece: [`RowDecoder::step`] until it says true.
    pub(crate) fn begin<'r>(&self, record: &'r [u8]) -> Push<'r> {
        let (body, before) = match &self.inner {
            Inner::Json(decoder) => (record, decoder.len()),
            Inner::Csv(decoder) => (trim_end_of_line(record), decoder.capacity()),
        };
        Push {
            record,
            body,
            at: 0,
            before,
            depth: Depth::default(),
        }
    }

    /// Takes the next piece of a record in; true when that was the last.
    pub(crate) fn step(&mut self, push: &mut Push<'_>) -> Result<bool, String> {
        let end = (push.at + PIECE_BYTES).min(push.body.len());
        let piece = push.body.get(push.at..end).unwrap_or_default();
        let last = end == push.body.len();
        push.at = end;
        match &mut self.inner {
            Inner::Json(decoder) => {
                if push.body.len() >= CHECK_DEPTH_FROM && push.depth.after(piece) > MAX_DEPTH {
                    return Err(format!("nested deeper than {MAX_DEPTH} levels"));
                }
                let taken = decoder.decode(piece).map_err(text)?;
                if last && taken == piece.len() && !piece.ends_with(b"\n") {
                    // A number ends only where something else begins.
                    decoder.decode(b"\n").map_err(text)?;
                }
                if last && decoder.has_partial_record() {
                    return Err("the line ends before the JSON object does".to_owned());
                }
                if taken != piece.len() || last && decoder.len() != push.before + 1 {
                    return Err("a line must hold exactly one JSON object".to_owned());
                }
            }
            Inner::Csv(decoder) => {
                let outcome = decoder.decode(piece).and_then(|taken| {
                    if last {
                        decoder.decode(b"\n")?;
                    }
                    let rows = usize::from(last);
                    Ok(taken == piece.len() && decoder.capacity() + rows == push.before)
                });
                if !outcome.unwrap_or(false) {
                    let found = csv_fields(push.record, self.delimiter).len();
                    return Err(match found == self.fields {
                        true => "not a record of CSV".to_owned(),
                        false => format!("{} fields are expected, it has {found}", self.fields),
                    });
                }
            }
        }
        Ok(last)
    }

    /// The records taken in since the last call.
    pub(crate) fn finish(&mut self) -> Result<Option<RecordBatch>, String> {
        let batch = match &mut self.inner {
            Inner::Json(decoder) => decoder.flush(),
            Inner::Csv(decoder) => decoder.flush(),
        };
        let Some(batch) = batch.map_err(text)? else {
            return Ok(None);
        };
        for (field, column) in self.wanted.fields().iter().zip(batch.columns()) {
            if !field.is_nullable() && column.null_count() > 0 {
                return Err(NULL_REASON.to_owned());
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let (_, columns, _) = batch.into_parts();
        RecordBatch::try_new_with_options(Arc::clone(&self.wanted), columns, &options)
            .map(Some)
            .map_err(text)
    }
}

fn nullable(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter();
    let fields = fields.map(|field| field.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

pub(crate) fn names(schema: &SchemaRef) -> String {
    let names: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    names.join(", ")
}

/// arrow's words without the name of its error class.
pub(crate) fn text(error: ArrowError) -> String {
    match error {
        ArrowError::JsonError(text)
        | ArrowError::CsvError(text)
        | ArrowError::ParseError(text)
        | ArrowError::SchemaError(text)
        | ArrowError::AvroError(text)
        | ArrowError::CastError(text)
        | ArrowError::InvalidArgumentError(text) => text,
        other => other.to_string(),
    }
}

/// The reason without the most part of a value that is very long.
fn shortened(reason: String) -> String {
    match reason.char_indices().nth(REASON_CHARS) {
        None => reason,
        Some((end, _)) => format!("{}…", reason.get(..end).unwrap_or_default()),
    }
}

/// How deep the brackets outside strings are nested.
#[derive(Debug, Default)]
struct Depth {
    depth: usize,
    deepest: usize,
    in_string: bool,
    escaped: bool,
}

impl Depth {
    /// The deepest nesting so far, `json` included.
    fn after(&mut self, json: &[u8]) -> usize {
        for &byte in json {
            match (self.in_string, byte) {
                (true, _) if self.escaped => self.escaped = false,
                (true, b'\\') => self.escaped = true,
                (_, b'"') => self.in_string = !self.in_string,
                (false, b'{' | b'[') => {
                    self.depth += 1;
                    self.deepest = self.deepest.max(self.depth);
                }
                (false, b'}' | b']') => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        self.deepest
    }
}
