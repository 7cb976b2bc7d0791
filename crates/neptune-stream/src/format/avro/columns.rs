//! How the columns of an Avro file become those of the table, and the other way round.

use std::sync::Arc;

use arrow_avro::reader::ReaderBuilder;
use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use datafusion::arrow::compute::{CastOptions, can_cast_types, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

use crate::error::StreamError;
use crate::format::avro::feed::header;
use crate::format::decode::{names, text};
use crate::source::FileEntry;

/// The columns of a file with this schema, as the decoder gives them.
pub(crate) fn columns_of(entry: &FileEntry, schema: &str) -> Result<SchemaRef, StreamError> {
    let header = header(schema);
    let reader = ReaderBuilder::new().build(header.as_slice());
    let reader = reader.map_err(|error| malformed(entry, None, text(error)))?;
    Ok(reader.schema())
}

/// The columns of a table that is made of such files.
///
/// # Errors
/// [`StreamError::Malformed`] for a column of a type that no table has.
pub(crate) fn table_of(entry: &FileEntry, file: &SchemaRef) -> Result<SchemaRef, StreamError> {
    let fields = file
        .fields()
        .iter()
        .map(|field| match plain(field.data_type()) {
            Some(data_type) => Ok(Field::new(field.name(), data_type, field.is_nullable())),
            None => {
                let reason = format!("type {} cannot be a column", field.data_type());
                Err(malformed(entry, Some(field.name()), reason))
            }
        });
    let fields = fields.collect::<Result<Vec<_>, _>>()?;
    Ok(Arc::new(Schema::new(fields)))
}

/// A type without what only Avro makes of it: metadata, enums, unions.
fn plain(data_type: &DataType) -> Option<DataType> {
    let field = |field: &Arc<Field>| {
        let data_type = plain(field.data_type())?;
        Some(Arc::new(Field::new(
            field.name(),
            data_type,
            field.is_nullable(),
        )))
    };
    Some(match data_type {
        DataType::Union(..) => return None,
        DataType::Dictionary(_, value) => plain(value)?,
        DataType::List(item) => DataType::List(field(item)?),
        DataType::Map(entries, sorted) => DataType::Map(field(entries)?, *sorted),
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(field).collect::<Option<Fields>>()?)
        }
        other => other.clone(),
    })
}

/// Where the wanted columns are in a file.
#[derive(Debug)]
pub(crate) struct Mapping {
    entry: FileEntry,
    wanted: SchemaRef,
    /// The file's columns that are read.
    pub(crate) projection: Vec<usize>,
    /// For each wanted column the place in `projection`; `None` when the file lacks it.
    from: Vec<Option<usize>>,
}

impl Mapping {
    /// # Errors
    /// [`StreamError::Malformed`], naming the column whose type does not fit.
    pub(crate) fn new(
        entry: &FileEntry,
        file: &SchemaRef,
        wanted: &SchemaRef,
    ) -> Result<Self, StreamError> {
        let (mut projection, mut from) = (Vec::new(), Vec::new());
        for field in wanted.fields() {
            let Some((index, found)) = file.column_with_name(field.name()) else {
                if !field.is_nullable() {
                    let reason = format!(
                        "the file has no such column, and it is NOT NULL; the file has {}",
                        names(file)
                    );
                    return Err(malformed(entry, Some(field.name()), reason));
                }
                from.push(None);
                continue;
            };
            if !fits(found.data_type(), field.data_type()) {
                let reason = format!(
                    "the file has type {}, the table {}",
                    found.data_type(),
                    field.data_type()
                );
                return Err(malformed(entry, Some(field.name()), reason));
            }
            from.push(Some(projection.len()));
            projection.push(index);
        }
        Ok(Self {
            entry: entry.clone(),
            wanted: Arc::clone(wanted),
            projection,
            from,
        })
    }

    /// The wanted columns of rows that begin after `before` others.
    ///
    /// # Errors
    /// [`StreamError::Malformed`], naming the column that has a value which does not fit.
    pub(crate) fn apply(
        &self,
        batch: &RecordBatch,
        before: u64,
    ) -> Result<RecordBatch, StreamError> {
        let rows = batch.num_rows();
        let broken = |field: &Field, reason: String| {
            let last = before + rows as u64;
            let reason = format!("rows {} to {last}: {reason}", before + 1);
            malformed(&self.entry, Some(field.name()), reason)
        };
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.from.len());
        for (field, from) in self.wanted.fields().iter().zip(&self.from) {
            let column = match from {
                None => new_null_array(field.data_type(), rows),
                Some(index) => {
                    let options = CastOptions {
                        safe: false,
                        ..CastOptions::default()
                    };
                    cast_with_options(batch.column(*index), field.data_type(), &options)
                        .map_err(|error| broken(field, text(error)))?
                }
            };
            if !field.is_nullable() && column.null_count() > 0 {
                return Err(broken(field, "NULL in a NOT NULL column".to_owned()));
            }
            columns.push(column);
        }
        self.batch(columns, rows)
            .map_err(|reason| malformed(&self.entry, None, reason))
    }

    /// Rows of which the file has nothing that is wanted.
    pub(crate) fn nothing(&self, rows: usize) -> Result<RecordBatch, StreamError> {
        let columns = self.wanted.fields().iter();
        let columns = columns.map(|field| new_null_array(field.data_type(), rows));
        self.batch(columns.collect(), rows)
            .map_err(|reason| malformed(&self.entry, None, reason))
    }

    fn batch(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, String> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.wanted), columns, &options).map_err(text)
    }
}

/// Whether values of one type can be had as another without becoming different ones, or an error each.
fn fits(from: &DataType, to: &DataType) -> bool {
    use DataType as T;
    let bytes = |t: &T| {
        let fixed = matches!(t, T::FixedSizeBinary(_));
        fixed || matches!(t, T::Binary | T::LargeBinary | T::BinaryView)
    };
    let decimal = |t: &T| matches!(t, T::Decimal128(..) | T::Decimal256(..));
    match (from, to) {
        (from, to) if from == to => true,
        (T::Null, _) => true,
        (T::Union(..), _) | (_, T::Union(..)) => false,
        (T::Dictionary(_, value), to) => fits(value, to),
        (T::List(from), T::List(to) | T::LargeList(to)) => fits(from.data_type(), to.data_type()),
        (T::Struct(from), T::Struct(to)) => {
            from.len() == to.len()
                && from.iter().zip(to).all(|(from, to)| {
                    from.name() == to.name() && fits(from.data_type(), to.data_type())
                })
        }
        (T::Map(from, _), T::Map(to, _)) => {
            fits(from.data_type(), to.data_type()) && can_cast_types(&from_map(from), &from_map(to))
        }
        (T::Timestamp(..), T::Timestamp(..)) => true,
        (T::Time32(_) | T::Time64(_), T::Time32(_) | T::Time64(_)) => true,
        (from, to) if from.is_integer() => to.is_integer() || to.is_floating() || decimal(to),
        (from, to) if from.is_floating() => to.is_floating(),
        (from, to) if decimal(from) => decimal(to) || to.is_floating(),
        (from, to) => is_text(from) && is_text(to) || bytes(from) && bytes(to),
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

fn from_map(entries: &Arc<Field>) -> DataType {
    DataType::Map(Arc::clone(entries), false)
}

/// The columns as they are written, or why one cannot be.
///
/// # Errors
/// The column and the reason.
pub(crate) fn written(schema: &SchemaRef) -> Result<SchemaRef, (String, String)> {
    let mut fields = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let refused = |reason: String| (field.name().clone(), reason);
        check_name(field.name()).map_err(refused)?;
        let data_type = writable(field.data_type()).map_err(refused)?;
        fields.push(Field::new(field.name(), data_type, field.is_nullable()));
    }
    Ok(Arc::new(Schema::new(fields)))
}

fn check_name(name: &str) -> Result<(), String> {
    let mut letters = name.chars();
    let first = letters
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    match first && letters.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        true => Ok(()),
        false => Err(format!(
            "'{name}' is no name in Avro: letters, digits and _ are"
        )),
    }
}

/// The type that is written for a type.
fn writable(data_type: &DataType) -> Result<DataType, String> {
    use DataType as T;
    let field = |field: &Arc<Field>| {
        let data_type = writable(field.data_type())?;
        Ok::<_, String>(Arc::new(Field::new(
            field.name(),
            data_type,
            field.is_nullable(),
        )))
    };
    Ok(match data_type {
        T::Boolean | T::Int32 | T::Int64 | T::Float32 | T::Float64 | T::Utf8 | T::Binary => {
            data_type.clone()
        }
        T::Date32 | T::Decimal128(..) => data_type.clone(),
        T::Int8 | T::Int16 | T::UInt8 | T::UInt16 => T::Int32,
        T::UInt32 => T::Int64,
        T::Float16 => T::Float32,
        T::LargeUtf8 | T::Utf8View => T::Utf8,
        T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => T::Binary,
        T::Timestamp(TimeUnit::Second, zone) => T::Timestamp(TimeUnit::Millisecond, utc(zone)),
        T::Timestamp(unit, zone) => T::Timestamp(*unit, utc(zone)),
        T::Time32(_) => T::Time32(TimeUnit::Millisecond),
        T::Time64(TimeUnit::Microsecond) => data_type.clone(),
        T::Dictionary(_, value) => writable(value)?,
        T::List(item) | T::LargeList(item) => T::List(field(item)?),
        T::Map(entries, sorted) => match entries.data_type() {
            T::Struct(fields) if fields.first().is_some_and(|key| is_text(key.data_type())) => {
                T::Map(field(entries)?, *sorted)
            }
            _ => return Err("the keys of a map must be text in Avro".to_owned()),
        },
        T::Struct(fields) => {
            for inner in fields {
                check_name(inner.name())?;
            }
            T::Struct(fields.iter().map(field).collect::<Result<Fields, _>>()?)
        }
        other => return Err(format!("Avro has no type for {other}: cast it to another")),
    })
}

/// Avro keeps instants in UTC only.
fn utc(zone: &Option<Arc<str>>) -> Option<Arc<str>> {
    zone.as_ref().map(|_| "+00:00".into())
}

fn malformed(entry: &FileEntry, column: Option<&str>, reason: impl Into<String>) -> StreamError {
    StreamError::Malformed {
        file: entry.path.clone(),
        line: None,
        column: column.map(str::to_owned),
        reason: reason.into(),
    }
}
