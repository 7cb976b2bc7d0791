//! Finds where records begin and end in bytes that arrive block by block.
//!
//! An NDJSON record is a line. A CSV record may go over several lines inside quotes; a quote opens only at
//! the beginning of a field, elsewhere it is an ordinary character.

use std::fmt;
use std::io::BufRead;

use crate::format::Format;

/// Longest record unless option `max_record_bytes` says otherwise; a longer one is taken for a file of another kind.
pub(crate) const MAX_RECORD_BYTES: usize = 16 << 20;

/// What stands at the beginning of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// A record of `bytes` bytes with its end of line, which goes over `lines` ends of lines.
    Record { bytes: usize, lines: u64 },
    /// A record that cannot be one; the next may begin after the same measures. Without a `line` it is longer than
    /// allowed and its end has not been seen: everything up to the next end of line belongs to it.
    Bad {
        bytes: usize,
        lines: u64,
        reason: Reason,
    },
    /// Not a whole record; more bytes are needed.
    More,
}

/// Why some bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Longer than this many bytes.
    TooLong(usize),
    /// A quote that opens in it is never closed, or too far away.
    OpenQuote,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::TooLong(bytes) => write!(
                f,
                "the record is longer than {bytes} bytes, which option max_record_bytes sets"
            ),
            Reason::OpenQuote => f.write_str("a quote that opens in this record is never closed"),
        }
    }
}

/// Finds records of one format.
///
/// It remembers what it has seen of a record that is not whole yet, so that a long record is not looked through again
/// with each block.
#[derive(Debug, Clone)]
pub(crate) struct Splitter {
    format: Format,
    delimiter: u8,
    most: usize,
    seen: Seen,
}

/// What is known of the record at the beginning of the data.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// Length of the first line with its end, once that has been found.
    line: Option<usize>,
    /// Bytes known to be without end of line.
    without_end: usize,
    /// Bytes of the first line known to be without quote.
    without_quote: usize,
    /// The first line has a quote.
    quoted: bool,
    /// Bytes that went through `quotes`, and the ends of lines in them.
    scanned: usize,
    lines: u64,
    quotes: Quotes,
}

impl Splitter {
    /// A splitter of records of at most `most` bytes.
    pub(crate) fn new(format: Format, delimiter: u8, most: usize) -> Self {
        Self {
            format,
            delimiter,
            most,
            seen: Seen::default(),
        }
    }

    /// The first record of `data`, which is not empty; `last` when no bytes will follow it. After
    /// [`Found::More`] the data must begin with the same bytes again, after everything else with the next record.
    pub(crate) fn first(&mut self, data: &[u8], last: bool) -> Found {
        let found = self.look(data, last);
        if found != Found::More {
            self.seen = Seen::default();
        }
        found
    }

    fn look(&mut self, data: &[u8], last: bool) -> Found {
        let seen = &mut self.seen;
        if seen.line.is_none() {
            let from = data.get(seen.without_end..).unwrap_or_default();
            let found = seen.without_end + line_length(from);
            seen.without_end = found;
            if found > 0 && data.get(found - 1) == Some(&b'\n') {
                seen.line = Some(found);
            }
        }
        let line = seen.line.unwrap_or(data.len());
        if self.format == Format::Csv && !seen.quoted {
            let from = data.get(seen.without_quote..line).unwrap_or_default();
            seen.quoted = contains(from, b'"');
            seen.without_quote = line;
        }
        let found = match (seen.quoted, seen.line) {
            (true, _) => self.quoted(data),
            (false, Some(bytes)) => Some(Found::Record { bytes, lines: 1 }),
            (false, None) => None,
        };
        let seen = &self.seen;
        let bad = |reason| Found::Bad {
            bytes: line,
            lines: u64::from(seen.line.is_some()),
            reason,
        };
        match found {
            Some(Found::Record { bytes, .. }) if bytes > self.most => {
                bad(Reason::TooLong(self.most))
            }
            Some(found) => found,
            None if data.len() > self.most => bad(match seen.line {
                Some(line) if line <= self.most => Reason::OpenQuote,
                _ => Reason::TooLong(self.most),
            }),
            None if !last => Found::More,
            None if seen.quoted && seen.quotes == Quotes::Inside => Found::Bad {
                bytes: line,
                lines: 1,
                reason: Reason::OpenQuote,
            },
            None => Found::Record {
                bytes: data.len(),
                lines: 1 + seen.lines,
            },
        }
    }

    /// The first CSV record of `data` if it is whole.
    fn quoted(&mut self, data: &[u8]) -> Option<Found> {
        let seen = &mut self.seen;
        for &byte in data.get(seen.scanned..).unwrap_or_default() {
            seen.scanned += 1;
            seen.lines += u64::from(byte == b'\n');
            if seen.quotes.step(byte, self.delimiter) {
                return Some(Found::Record {
                    bytes: seen.scanned,
                    lines: seen.lines,
                });
            }
        }
        None
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

/// Whether a record without its end of line is none, but an empty line.
pub(crate) fn is_blank(format: Format, record: &[u8]) -> bool {
    match format {
        // In CSV with a single column, spaces are a value.
        Format::Csv => record.is_empty(),
        _ => record.iter().all(u8::is_ascii_whitespace),
    }
}

/// Length of the first line with its end, or of everything.
pub(crate) fn line_length(mut data: &[u8]) -> usize {
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
        let mut splitter = Splitter::new(format, b',', MAX_RECORD_BYTES);
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
        for (format, data, rest) in [
            (Format::Json, "{\"a\"", ":\n\n"),
            (Format::Csv, "a,b", "\n"),
            (Format::Csv, "a,b", "\"\nd"),
            (Format::Csv, "a,b", ",\"\n\"\nd"),
            (Format::Csv, "a,\"x\n", "\n\"\nd"),
        ] {
            let mut splitter = Splitter::new(format, b',', 100);
            assert_eq!(splitter.first(data.as_bytes(), false), Found::More);
            assert_eq!(splitter.first(data.as_bytes(), false), Found::More);
            let whole = format!("{data}{rest}");
            let at_once = Splitter::new(format, b',', 100).first(whole.as_bytes(), false);
            assert!(matches!(at_once, Found::Record { .. }), "{whole:?}");
            assert_eq!(splitter.first(whole.as_bytes(), false), at_once);
        }
    }

    #[test]
    fn a_record_beyond_the_limit_is_bad_and_says_why() {
        let long = "x".repeat(20);
        for (format, data, last, bytes, lines, reason) in [
            (
                Format::Json,
                long.clone(),
                false,
                20,
                0,
                Reason::TooLong(10),
            ),
            (
                Format::Json,
                format!("{long}\n{{}}\n"),
                false,
                21,
                1,
                Reason::TooLong(10),
            ),
            (Format::Csv, long.clone(), true, 20, 0, Reason::TooLong(10)),
            (
                Format::Csv,
                format!("\"a\n{long}"),
                false,
                3,
                1,
                Reason::OpenQuote,
            ),
            (
                Format::Csv,
                format!("\"a\n{long}\"\n"),
                false,
                3,
                1,
                Reason::TooLong(10),
            ),
        ] {
            let found = Splitter::new(format, b',', 10).first(data.as_bytes(), last);
            let expected = Found::Bad {
                bytes,
                lines,
                reason,
            };
            assert_eq!(found, expected, "{data:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn records_are_the_same_however_the_bytes_arrive(
            text in "[a\",\n\r]{0,60}",
            cuts in proptest::collection::vec(1usize..8, 0..30),
            csv: bool,
        ) {
            let format = if csv { Format::Csv } else { Format::Json };
            let mut splitter = Splitter::new(format, b',', MAX_RECORD_BYTES);
            let (mut start, mut end, mut found) = (0, 0, vec![]);
            let mut cuts = cuts.into_iter();
            while start < text.len() {
                let last = end == text.len();
                let data = &text.as_bytes()[start..end];
                let outcome = match data.is_empty() {
                    true => Found::More,
                    false => splitter.first(data, last),
                };
                match outcome {
                    Found::More => {
                        proptest::prop_assert!(!last);
                        end = (end + cuts.next().unwrap_or(1)).min(text.len());
                    }
                    Found::Record { bytes, .. } | Found::Bad { bytes, .. } => {
                        found.push(outcome);
                        start += bytes;
                    }
                }
            }
            let mut at_once = Splitter::new(format, b',', MAX_RECORD_BYTES);
            let mut rest = text.as_bytes();
            for expected in found {
                let outcome = at_once.first(rest, true);
                proptest::prop_assert_eq!(outcome, expected);
                let (Found::Record { bytes, .. } | Found::Bad { bytes, .. }) = outcome else { panic!() };
                rest = &rest[bytes..];
            }
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
