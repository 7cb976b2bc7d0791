//! The options of one table, typed: each is asked for once, and what nobody asked for is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::error::StreamError;
use crate::format::OnError;

/// A table's options as its connector sees them.
///
/// Errors name the option key; the SQL layer knows where it stands.
#[derive(Debug)]
pub struct Options<'a> {
    connector: &'a str,
    given: &'a BTreeMap<String, String>,
    asked: BTreeSet<&'static str>,
}

impl<'a> Options<'a> {
    /// The options of a table of `connector`.
    pub fn new(connector: &'a str, given: &'a BTreeMap<String, String>) -> Self {
        Self {
            connector,
            given,
            asked: BTreeSet::new(),
        }
    }

    /// Option `key` as it was written.
    pub fn text(&mut self, key: &'static str) -> Option<&'a str> {
        self.asked.insert(key);
        self.given.get(key).map(String::as_str)
    }

    /// Option `key` as a whole number of at least `least`.
    ///
    /// # Errors
    /// [`StreamError::Option`] when it is none.
    pub fn number(&mut self, key: &'static str, least: u64) -> Result<Option<u64>, StreamError> {
        let Some(value) = self.text(key) else {
            return Ok(None);
        };
        match value.parse::<u64>() {
            Ok(number) if number >= least => Ok(Some(number)),
            _ => Err(self.wrong(
                key,
                "not a number it can be",
                format!("a whole number of at least {least} is expected"),
            )),
        }
    }

    /// Option `key` as `true` or `false`.
    ///
    /// # Errors
    /// [`StreamError::Option`] when it is neither.
    pub fn flag(&mut self, key: &'static str) -> Result<Option<bool>, StreamError> {
        self.choice(key, &[("true", true), ("false", false)])
    }

    /// Option `key` as one of some words, in any letter case.
    ///
    /// # Errors
    /// [`StreamError::Option`] when it is none of them.
    pub fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&str, T)],
    ) -> Result<Option<T>, StreamError> {
        let Some(value) = self.text(key) else {
            return Ok(None);
        };
        let named = |word: &str| word.eq_ignore_ascii_case(value);
        if let Some((_, meaning)) = words.iter().find(|(word, _)| named(word)) {
            return Ok(Some(*meaning));
        }
        let known: Vec<_> = words.iter().map(|(word, _)| format!("'{word}'")).collect();
        Err(self.wrong(
            key,
            "not a value it can have",
            format!("use one of {}", known.join(", ")),
        ))
    }

    /// Option `key` as a single ASCII character; `\t` is a tab.
    ///
    /// # Errors
    /// [`StreamError::Option`] when it is something else.
    pub fn character(&mut self, key: &'static str) -> Result<Option<u8>, StreamError> {
        let Some(value) = self.text(key) else {
            return Ok(None);
        };
        match value.as_bytes() {
            b"\\t" => Ok(Some(b'\t')),
            [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Ok(Some(*byte)),
            _ => Err(self.wrong(
                key,
                "not a single character",
                "one ASCII character other than a quote is expected, '\\t' for a tab".to_owned(),
            )),
        }
    }

    /// The one of two names for the same option that is given.
    ///
    /// # Errors
    /// [`StreamError::Option`] when both are.
    pub fn either(
        &mut self,
        key: &'static str,
        other: &'static str,
    ) -> Result<&'static str, StreamError> {
        match (self.text(key), self.text(other)) {
            (Some(_), Some(_)) => {
                let help = format!("leave one of them out: it means the same as '{key}'");
                Err(self.wrong(other, "given twice", help))
            }
            (None, Some(_)) => Ok(other),
            _ => Ok(key),
        }
    }

    /// Option `type` as (reads, writes), for a table that can do these; both when it is left out.
    ///
    /// # Errors
    /// [`StreamError::Option`] for a direction the connector does not have.
    pub fn kind(&mut self, reads: bool, writes: bool) -> Result<(bool, bool), StreamError> {
        let mut words = Vec::new();
        if reads {
            words.push(("source", (true, false)));
        }
        if writes {
            words.push(("sink", (false, true)));
        }
        Ok(self.choice("type", &words)?.unwrap_or((reads, writes)))
    }

    /// Options `on_error` and `dead_letter_path`.
    ///
    /// # Errors
    /// [`StreamError`] when one is given without the other or has a value it cannot have.
    pub fn on_error(&mut self) -> Result<OnError, StreamError> {
        let path = self.text("dead_letter_path");
        if path.is_some_and(|path| path.contains("://")) {
            let help = "write the path of a file of this machine".to_owned();
            return Err(self.wrong("dead_letter_path", "letters are appended one by one", help));
        }
        let path = path.map(PathBuf::from);
        let words = [("fail", 0), ("skip", 1), ("dead_letter", 2)];
        match (self.choice("on_error", &words)?.unwrap_or(0), path) {
            (2, Some(path)) => Ok(OnError::DeadLetter(path)),
            (2, None) => Err(self.missing(
                "dead_letter_path",
                "on_error = 'dead_letter' writes the malformed records to this file",
            )),
            (_, Some(_)) => Err(self.wrong(
                "dead_letter_path",
                "nothing is written to it",
                "add on_error = 'dead_letter'".to_owned(),
            )),
            (1, None) => Ok(OnError::Skip),
            (_, None) => Ok(OnError::Fail),
        }
    }

    /// Refuses options that were not asked for.
    ///
    /// # Errors
    /// [`StreamError::UnknownOption`] for the first of them.
    pub fn finish(self) -> Result<(), StreamError> {
        let known: Vec<&str> = self.asked.iter().copied().collect();
        match self
            .given
            .keys()
            .find(|key| !self.asked.contains(key.as_str()))
        {
            None => Ok(()),
            Some(key) => Err(StreamError::UnknownOption {
                connector: self.connector.to_owned(),
                key: key.clone(),
                known: known.join(", "),
                suggestion: closest(key, &known),
            }),
        }
    }

    /// The error for an option that has to be there.
    pub fn missing(&self, key: &str, help: &str) -> StreamError {
        StreamError::MissingOption {
            connector: self.connector.to_owned(),
            key: key.to_owned(),
            help: help.to_owned(),
        }
    }

    /// The error for an option whose value cannot be used.
    pub fn wrong(&self, key: &str, reason: &str, help: String) -> StreamError {
        StreamError::Option {
            key: key.to_owned(),
            value: self.given.get(key).cloned().unwrap_or_default(),
            reason: reason.to_owned(),
            help,
        }
    }
}

/// The word of `known` that `word` was probably meant to be.
pub(crate) fn closest(word: &str, known: &[&str]) -> Option<String> {
    known
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .map(|(_, candidate)| candidate.to_owned())
}

/// Number of characters to insert, delete or replace to make one word the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let cell = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX - 1);
            let replace = cell(&row, j) + usize::from(from != *to);
            next.push(replace.min(cell(&row, j + 1) + 1).min(cell(&next, j) + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
