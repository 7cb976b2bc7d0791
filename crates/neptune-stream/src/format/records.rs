//! Finds where records begin and end in bytes that arrive block by block.
//!
//! An NDJSON record is a line. A CSV record may go over several lines inside quotes; a quote opens only at
//! the beginning of a field, elsewhere it is an ordinary character.

use std::io::BufRead;

use crate::format::Format;

/// Longest record; a line beyond it is taken for a file of another kind.
pub(crate) const MAX_RECORD_BYTES: usize = 16 << 20;

/// What stands at the beginning of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// A record of `bytes` bytes with its end of line, which goes over `lines` ends of lines.
    Record { bytes: usize, lines: u64 },
    /// A record that cannot be one; the next may begin after the same measures.
    Bad {
        bytes: usize,
        lines: u64,
        reason: &'static str,
    },
    /// Not a whole record; more bytes are needed.
    More,
}

/// Finds records of one format.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Splitter {
    format: Format,
    delimiter: u8,
}

impl Splitter {
    pub(crate) fn new(format: Format, delimiter: u8) -> Self {
        Self { format, delimiter }
    }

    /// The first record of `data`, which is not empty; `last` when no bytes will follow it.
    pub(crate) fn first(&self, data: &[u8], last: bool) -> Found {
        let line = line_length(data);
        let whole = data.get(..line).unwrap_or(data);
        let found = if self.format == Format::Csv && contains(whole, b'"') {
            self.quoted(data)
        } else if whole.ends_with(b"\n") {
            Some(Found::Record {
                bytes: line,
                lines: 1,
            })
        } else {
            None
        };
        match found {
            Some(found) => found,
            None if data.len() > MAX_RECORD_BYTES => Found::Bad {
                bytes: line,
                lines: u64::from(whole.ends_with(b"\n")),
                reason: "the record is longer than 16 MiB, or a quote is never closed",
            },
            None if !last => Found::More,
            None if self.is_open(data) => Found::Bad {
                bytes: line,
                lines: 1,
                reason: "a quote that opens in this record is never closed",
            },
            None => Found::Record {
                bytes: data.len(),
                lines: 1 + data.iter().filter(|byte| **byte == b'\n').count() as u64,
            },
        }
    }

    /// The first CSV record of `data` if it is whole.
    fn quoted(&self, data: &[u8]) -> Option<Found> {
        let mut lines = 0;
        let mut quotes = Quotes::default();
        for (at, &byte) in data.iter().enumerate() {
            lines += u64::from(byte == b'\n');
            if quotes.step(byte, self.delimiter) {
                return Some(Found::Record {
                    bytes: at + 1,
                    lines,
                });
            }
        }
        None
    }

    /// Whether `data` ends inside quotes.
    fn is_open(&self, data: &[u8]) -> bool {
        if self.format != Format::Csv {
            return false;
        }
        let mut quotes = Quotes::default();
        for &byte in data {
            quotes.step(byte, self.delimiter);
        }
        matches!(quotes, Quotes::Inside)
    }
}

/// Where in a CSV record a byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Quotes {
    #[default]
    FieldStart,
    Plain,
    Inside,
    /// After a quote inside quotes: an end, or the first half of a doubled quote.
    Closing,
}

impl Quotes {
    /// Takes one byte in; true when it ends the record.
    fn step(&mut self, byte: u8, delimiter: u8) -> bool {
        let next = match (*self, byte) {
            (Quotes::FieldStart, b'"') | (Quotes::Closing, b'"') => Quotes::Inside,
            (Quotes::Inside, b'"') => Quotes::Closing,
            (Quotes::Inside, _) => Quotes::Inside,
            (_, b'\n') => return true,
            (_, byte) if byte == delimiter => Quotes::FieldStart,
            _ => Quotes::Plain,
        };
        *self = next;
        false
    }
}

/// The fields of one CSV record, without quotes.
pub(crate) fn csv_fields(record: &[u8], delimiter: u8) -> Vec<String> {
    let mut fields = Vec::new();
    let mut field = Vec::new();
    let mut quotes = Quotes::default();
    for &byte in trim_end_of_line(record) {
        let before = quotes;
        if quotes.step(byte, delimiter) {
            break;
        }
        match (before, quotes) {
            (Quotes::Inside, Quotes::Closing) | (Quotes::FieldStart, Quotes::Inside) => {}
            (_, Quotes::FieldStart) => {
                fields.push(String::from_utf8_lossy(&field).into_owned());
                field.clear();
            }
            _ => field.push(byte),
        }
    }
    fields.push(String::from_utf8_lossy(&field).into_owned());
    fields
}

/// `record` without the end of line, be it `\n` or `\r\n`.
pub(crate) fn trim_end_of_line(record: &[u8]) -> &[u8] {
    let record = record.strip_suffix(b"\n").unwrap_or(record);
    record.strip_suffix(b"\r").unwrap_or(record)
}

/// Length of the first line with its end, or of everything.
fn line_length(mut data: &[u8]) -> usize {
    // `BufRead` gives access to the standard library's fast byte search; a slice cannot fail to be read.
    data.skip_until(b'\n').unwrap_or(0)
}

fn contains(data: &[u8], byte: u8) -> bool {
    let mut rest = data;
    let through = rest.skip_until(byte).unwrap_or(0);
    through > 0 && data.get(through - 1) == Some(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(format: Format, text: &str) -> Vec<(String, u64)> {
        let splitter = Splitter::new(format, b',');
        let (mut rest, mut line, mut found) = (text.as_bytes(), 1, vec![]);
        while !rest.is_empty() {
            let (bytes, lines, tag) = match splitter.first(rest, true) {
                Found::Record { bytes, lines } => (bytes, lines, ""),
                Found::Bad { bytes, lines, .. } => (bytes, lines, "BAD "),
                Found::More => panic!("nothing more will come"),
            };
            let record = String::from_utf8_lossy(trim_end_of_line(&rest[..bytes]));
            found.push((format!("{tag}{record}"), line));
            line += lines;
            rest = &rest[bytes..];
        }
        found
    }

    #[test]
    fn csv_records_go_over_lines_only_inside_quotes() {
        for (text, expected) in [
            ("a,b\nc,d", vec![("a,b", 1), ("c,d", 2)]),
            ("a,\"x\ny\",z\nb\n", vec![("a,\"x\ny\",z", 1), ("b", 3)]),
            ("a,\"x\"\"\ny\"\nb", vec![("a,\"x\"\"\ny\"", 1), ("b", 3)]),
            // A quote in the middle of a field is an ordinary character.
            (
                "5\" pipe,1\n6\" pipe,2\n",
                vec![("5\" pipe,1", 1), ("6\" pipe,2", 2)],
            ),
            // A quote that is never closed spoils its own line only.
            ("a,\"x\nb,y\n", vec![("BAD a,\"x", 1), ("b,y", 2)]),
            // The last record lacks its end of line.
            ("a,\"x\ny\"", vec![("a,\"x\ny\"", 1)]),
            ("b,y\r\na,\"x", vec![("b,y", 1), ("BAD a,\"x", 2)]),
        ] {
            let found = split(Format::Csv, text);
            let found: Vec<_> = found.iter().map(|(r, l)| (r.as_str(), *l)).collect();
            assert_eq!(found, expected, "{text:?}");
        }
    }

    #[test]
    fn json_records_are_lines_whatever_stands_in_them() {
        let found = split(Format::Json, "{\"a\":\"x\n\"}\n{}");
        assert_eq!(found.len(), 3);
        assert_eq!(found[2], ("{}".to_owned(), 3));
    }

    #[test]
    fn an_unfinished_record_waits_for_more_bytes() {
        let csv = Splitter::new(Format::Csv, b',');
        for (splitter, data) in [
            (Splitter::new(Format::Json, b','), "{\"a\""),
            (csv, "a,b"),
            (csv, "a,\"x\n"),
        ] {
            assert_eq!(splitter.first(data.as_bytes(), false), Found::More);
        }
    }

    #[test]
    fn fields_lose_their_quotes() {
        assert_eq!(
            csv_fields(b"a,\"b,\"\"c\"\"\",,d\"e\r\n", b','),
            ["a", "b,\"c\"", "", "d\"e"]
        );
        assert_eq!(csv_fields(b"", b','), [""]);
    }
}
