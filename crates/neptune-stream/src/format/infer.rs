//! The columns of a table whose column list was left out, from its first file.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::csv::reader::Format as CsvFormat;
use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use datafusion::arrow::json::reader::infer_json_schema_from_iterator;
use serde_json::Value;

use crate::error::StreamError;
use crate::format::blocks::FileBytes;
use crate::format::decode::text;
use crate::format::records::{Found, csv_fields, is_blank, trim_end_of_line};
use crate::format::{Format, OnError, ReadOptions, avro, parquet};
use crate::source::{Access, FileEntry};

/// Records looked at.
const SAMPLE_RECORDS: usize = 1000;
/// Bytes looked at, as far as whole records go.
const SAMPLE_BYTES: usize = 1 << 20;
/// Bytes read at a time.
const BLOCK_BYTES: usize = 256 << 10;

/// The columns of a file. Reads the file's beginning: not for a thread that must not wait.
///
/// # Errors
/// [`StreamError::Io`] and [`StreamError::Corrupt`]; [`StreamError::Malformed`] for a record that is none, unless
/// `on_error` lets it pass.
pub(crate) fn infer_schema(
    access: &Access,
    file: &FileEntry,
    options: &ReadOptions,
) -> Result<SchemaRef, StreamError> {
    let schema = match options.format {
        Format::Parquet => return parquet::schema_of(access, file),
        Format::Avro => return avro::schema_of(access, file),
        Format::Json => from_json(access, file, options)?,
        Format::Csv => from_csv(access, file, options)?,
    };
    if schema.fields().is_empty() {
        let reason = "no columns can be read off it";
        return Err(malformed(&file.path, None, reason));
    }
    if let Some(name) = repeated(&schema) {
        return Err(StreamError::Malformed {
            file: file.path.clone(),
            line: Some(1),
            column: Some(name.to_owned()),
            reason: "the header has this column twice".to_owned(),
        });
    }
    Ok(Arc::new(schema))
}

/// The name of a column that is there twice.
pub(crate) fn repeated(schema: &Schema) -> Option<&str> {
    let mut names = HashSet::new();
    let twice = schema
        .fields()
        .iter()
        .find(|field| !names.insert(field.name()));
    twice.map(|field| field.name().as_str())
}

fn malformed(path: &Path, line: Option<u64>, reason: impl Into<String>) -> StreamError {
    StreamError::Malformed {
        file: path.to_owned(),
        line,
        column: None,
        reason: reason.into(),
    }
}

/// Shows `take` the first records of a file that are not blank, each with its line, or why it is none.
fn sample(
    access: &Access,
    entry: &FileEntry,
    options: &ReadOptions,
    mut take: impl FnMut(&[u8]) -> Result<(), String>,
) -> Result<(), StreamError> {
    let strict = options.on_error == OnError::Fail;
    let mut file = FileBytes::open(access, entry, options.packing)?;
    let mut splitter = options.splitter();
    let (mut data, mut start, mut more) = (Vec::new(), 0, true);
    let (mut line, mut records, mut read) = (1, 0, 0);
    while records < SAMPLE_RECORDS {
        let rest: &[u8] = data.get(start..).unwrap_or_default();
        let found = match rest.is_empty() {
            true => Found::More,
            false => splitter.first(rest, !more),
        };
        let (bytes, lines, taken) = match found {
            Found::More if !more || read >= SAMPLE_BYTES && records > 0 => return Ok(()),
            Found::More => {
                data.drain(..start);
                start = 0;
                let before = data.len();
                more = file.fill(&mut data, BLOCK_BYTES)?;
                if read == 0 && data.starts_with(b"\xef\xbb\xbf") {
                    start = 3;
                }
                read += data.len() - before;
                continue;
            }
            Found::Record { bytes, lines } => {
                let record = trim_end_of_line(rest.get(..bytes).unwrap_or_default());
                let taken = match is_blank(options.format, record) {
                    true => Ok(()),
                    false => {
                        records += 1;
                        take(record)
                    }
                };
                (bytes, lines, taken)
            }
            Found::Bad {
                bytes,
                lines,
                reason,
            } => (bytes, lines, Err(reason.to_string())),
        };
        if let Err(reason) = taken
            && strict
        {
            return Err(malformed(&entry.path, Some(line), reason));
        }
        if lines == 0 {
            // Nobody knows where the next record begins.
            return Ok(());
        }
        (start, line) = (start + bytes, line + lines);
    }
    Ok(())
}

fn from_json(
    access: &Access,
    file: &FileEntry,
    options: &ReadOptions,
) -> Result<Schema, StreamError> {
    let mut values: Vec<Value> = Vec::new();
    sample(access, file, options, |record| {
        match serde_json::from_slice::<Value>(record) {
            Ok(value) if value.is_object() => values.push(value),
            Ok(_) => return Err("not a JSON object".to_owned()),
            Err(error) => return Err(error.to_string()),
        }
        Ok(())
    })?;
    let schema = infer_json_schema_from_iterator(values.iter().map(Ok))
        .map_err(|error| malformed(&file.path, None, text(error)))?;
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

fn from_csv(
    access: &Access,
    file: &FileEntry,
    options: &ReadOptions,
) -> Result<Schema, StreamError> {
    let csv = options.csv;
    let (mut text_of_sample, mut fields) = (Vec::new(), None);
    sample(access, file, options, |record| {
        let found = csv_fields(record, csv.delimiter).len();
        let expected = *fields.get_or_insert(found);
        if found != expected {
            return Err(format!("{expected} fields are expected, it has {found}"));
        }
        text_of_sample.extend_from_slice(record);
        text_of_sample.push(b'\n');
        Ok(())
    })?;
    CsvFormat::default()
        .with_header(csv.header)
        .with_delimiter(csv.delimiter)
        .infer_schema(text_of_sample.as_slice(), None)
        .map(|(schema, _)| schema)
        .map_err(|error| malformed(&file.path, None, text(error)))
}
