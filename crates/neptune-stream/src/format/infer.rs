//! The columns of a table whose column list was left out, from its first file.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::csv::reader::Format as CsvFormat;
use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use datafusion::arrow::json::reader::infer_json_schema_from_iterator;
use serde_json::Value;

use crate::error::StreamError;
use crate::format::decode::text;
use crate::format::records::{Found, Splitter, csv_fields, trim_end_of_line};
use crate::format::{CsvOptions, Format, OnError, parquet};

/// Records looked at.
const SAMPLE_RECORDS: usize = 1000;
/// Bytes of CSV looked at.
const SAMPLE_BYTES: u64 = 1 << 20;

/// The columns of the file at `path`. Reads the file's beginning: not for a thread that must not wait.
///
/// # Errors
/// [`StreamError::Io`]; [`StreamError::Malformed`] for a record that is none, unless `on_error` lets it pass.
pub(crate) fn infer_schema(
    path: &Path,
    format: Format,
    csv: CsvOptions,
    on_error: &OnError,
) -> Result<SchemaRef, StreamError> {
    let strict = *on_error == OnError::Fail;
    let schema = match format {
        Format::Parquet => return parquet::schema_of(path),
        Format::Json => from_json(path, strict)?,
        Format::Csv => from_csv(path, csv, strict)?,
    };
    if schema.fields().is_empty() {
        return Err(malformed(path, None, "no columns can be read off it"));
    }
    Ok(Arc::new(schema))
}

fn malformed(path: &Path, line: Option<u64>, reason: impl Into<String>) -> StreamError {
    StreamError::Malformed {
        file: path.to_owned(),
        line,
        column: None,
        reason: reason.into(),
    }
}

fn from_json(path: &Path, strict: bool) -> Result<Schema, StreamError> {
    let file = File::open(path).map_err(StreamError::io("read", path))?;
    let mut sample: Vec<Value> = Vec::new();
    let lines = BufReader::new(file).split(b'\n');
    for (number, line) in (1..).zip(lines) {
        let line = line.map_err(StreamError::io("read", path))?;
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line);
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match serde_json::from_slice::<Value>(line) {
            Ok(value) if value.is_object() => sample.push(value),
            _ if !strict => {}
            Ok(_) => return Err(malformed(path, Some(number), "not a JSON object")),
            Err(error) => return Err(malformed(path, Some(number), error.to_string())),
        }
        if sample.len() == SAMPLE_RECORDS {
            break;
        }
    }
    let schema = infer_json_schema_from_iterator(sample.iter().map(Ok))
        .map_err(|error| malformed(path, None, text(error)))?;
    Ok(Schema::new(in_order(schema.fields())))
}

/// Fields by name: arrow gives them in the order of a hash table, which differs from run to run.
fn in_order(fields: &Fields) -> Fields {
    let mut fields: Vec<_> = fields.iter().map(|field| ordered(field)).collect();
    fields.sort_by(|a, b| a.name().cmp(b.name()));
    fields.into()
}

fn ordered(field: &Field) -> Field {
    let data_type = match field.data_type() {
        DataType::Struct(fields) => DataType::Struct(in_order(fields)),
        DataType::List(item) => DataType::List(Arc::new(ordered(item))),
        other => other.clone(),
    };
    field.clone().with_data_type(data_type)
}

fn from_csv(path: &Path, csv: CsvOptions, strict: bool) -> Result<Schema, StreamError> {
    let file = File::open(path).map_err(StreamError::io("read", path))?;
    let size = file.metadata().map(|m| m.len()).unwrap_or(0);
    let mut data = Vec::new();
    file.take(SAMPLE_BYTES)
        .read_to_end(&mut data)
        .map_err(StreamError::io("read", path))?;

    let whole = size <= SAMPLE_BYTES;
    let splitter = Splitter::new(Format::Csv, csv.delimiter);
    let mut rest = data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&data);
    let (mut sample, mut records, mut line, mut fields) = (Vec::new(), 0, 1, None);
    while !rest.is_empty() && records <= SAMPLE_RECORDS {
        let (bytes, lines, good) = match splitter.first(rest, whole) {
            Found::Record { bytes, lines } => (bytes, lines, Ok(())),
            Found::Bad {
                bytes,
                lines,
                reason,
            } => (bytes, lines, Err(reason.to_owned())),
            Found::More => break,
        };
        let (record, after) = rest.split_at(bytes);
        rest = after;
        let good = good.and_then(|()| {
            let found = csv_fields(record, csv.delimiter).len();
            let expected = *fields.get_or_insert(found);
            match found == expected {
                true => Ok(()),
                false => Err(format!("{expected} fields are expected, it has {found}")),
            }
        });
        match good {
            _ if trim_end_of_line(record).is_empty() => {}
            Ok(()) => {
                sample.extend_from_slice(trim_end_of_line(record));
                sample.push(b'\n');
                records += 1;
            }
            Err(reason) if strict => return Err(malformed(path, Some(line), reason)),
            Err(_) => {}
        }
        line += lines;
    }
    CsvFormat::default()
        .with_header(csv.header)
        .with_delimiter(csv.delimiter)
        .infer_schema(sample.as_slice(), None)
        .map(|(schema, _)| schema)
        .map_err(|error| malformed(path, None, text(error)))
}
