//! The `WITH (key = value, …)` list of a table or a job.
//!
//! Reading an option marks it; [`Options::finish`] then refuses what nobody asked for. So the code that
//! understands an option is also the only place that lists it, and a misspelt key can never be ignored.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::error::DialectError;
use super::source::{Position, Source};
use super::suggest::did_you_mean;

/// The value of one option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionValue {
    /// The value as text: a string without its quotes, a number as written, `true` or `false`.
    pub text: String,
    /// Where the key stands.
    pub key_position: Position,
    /// Where the value stands.
    pub value_position: Position,
}

/// Options in the order written, keys in lower case.
#[derive(Debug, Clone)]
pub struct Options {
    source: Arc<Source>,
    /// Whose options they are, for messages: ``table `clicks` ``.
    owner: String,
    position: Position,
    entries: Vec<(String, OptionValue)>,
    asked: BTreeSet<String>,
}

impl Options {
    pub(super) fn new(source: Arc<Source>, owner: String, position: Position) -> Self {
        Self {
            source,
            owner,
            position,
            entries: Vec::new(),
            asked: BTreeSet::new(),
        }
    }

    /// Adds an option; refuses a key that is there already.
    pub(super) fn insert(&mut self, key: String, value: OptionValue) -> Result<(), DialectError> {
        if let Some(first) = self.get(&key) {
            let what = format!(
                "option `{key}` of {} is given twice, first at {}",
                self.owner, first.key_position
            );
            return Err(self.source.error(value.key_position, what));
        }
        self.entries.push((key, value));
        Ok(())
    }

    /// Where the list stands (or the name of its owner, if it has none).
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Whether there is no option at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All options in the order written; does not count as asking for them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &OptionValue)> {
        self.entries
            .iter()
            .map(|(key, value)| (key.as_str(), value))
    }

    /// One option (`key` in lower case); does not count as asking for it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&OptionValue> {
        self.iter()
            .find_map(|(name, value)| (name == key).then_some(value))
    }

    /// The text of an option, if given.
    pub fn str(&mut self, key: &str) -> Option<String> {
        self.ask(key).map(|value| value.text.clone())
    }

    /// The text of an option that must be given.
    ///
    /// # Errors
    /// When it is not there.
    pub fn required_str(&mut self, key: &str) -> Result<String, DialectError> {
        self.str(key).ok_or_else(|| self.missing(key))
    }

    /// A whole number, zero or more.
    ///
    /// # Errors
    /// When the value is anything else.
    pub fn u64(&mut self, key: &str) -> Result<Option<u64>, DialectError> {
        self.parsed(key, "a whole number such as 1000", |text| text.parse().ok())
    }

    /// `true` or `false`; letter case does not matter.
    ///
    /// # Errors
    /// When the value is anything else.
    pub fn bool(&mut self, key: &str) -> Result<Option<bool>, DialectError> {
        self.parsed(key, "`true` or `false`", |text| {
            match text.to_ascii_lowercase().as_str() {
                "true" => Some(true),
                "false" => Some(false),
                _ => None,
            }
        })
    }

    /// A length of time, see [`parse_duration`].
    ///
    /// # Errors
    /// When the value is anything else.
    pub fn duration(&mut self, key: &str) -> Result<Option<Duration>, DialectError> {
        self.parsed(key, DURATION_FORM, parse_duration)
    }

    /// One of a few words; letter case does not matter. The answer is spelt as in `allowed`.
    ///
    /// # Errors
    /// When the value is none of them; the message names them all and the nearest.
    pub fn one_of<'a>(
        &mut self,
        key: &str,
        allowed: &[&'a str],
    ) -> Result<Option<&'a str>, DialectError> {
        let Some(text) = self.str(key) else {
            return Ok(None);
        };
        let known = allowed
            .iter()
            .copied()
            .find(|word| word.eq_ignore_ascii_case(&text));
        match known {
            Some(word) => Ok(Some(word)),
            None => {
                let words: Vec<String> = allowed.iter().map(|word| format!("'{word}'")).collect();
                let what = format!("it must be one of {}", words.join(", "));
                let near = super::suggest::nearest(&text, allowed.iter().copied());
                Err(self
                    .bad_value(key, &what)
                    .with_optional_help(near.map(|word| format!("did you mean '{word}'?"))))
            }
        }
    }

    /// Refuses options that nobody asked for. Call it when everything was read.
    ///
    /// # Errors
    /// At the first such option, with the nearest of the keys that were asked for.
    pub fn finish(&self) -> Result<(), DialectError> {
        match self.iter().find(|(key, _)| !self.asked.contains(*key)) {
            None => Ok(()),
            Some((key, value)) => {
                let what = format!("unknown option `{key}` of {}", self.owner);
                let known = self.asked.iter().map(String::as_str);
                Err(self
                    .source
                    .error(value.key_position, what)
                    .with_optional_help(did_you_mean(key, known)))
            }
        }
    }

    /// The error that option `key` is not there.
    #[must_use]
    pub fn missing(&self, key: &str) -> DialectError {
        let what = format!("{} has no option `{key}`", self.owner);
        let unasked = self
            .iter()
            .map(|(name, _)| name)
            .filter(|name| !self.asked.contains(*name));
        let help = match super::suggest::nearest(key, unasked) {
            Some(near) => format!("`{near}` looks like it: write `{key}`"),
            None => format!("add `{key} = '…'` to WITH (…)"),
        };
        self.source.error(self.position, what).with_help(help)
    }

    /// The error that the value of option `key` will not do; `what` says why, as in "it must be …".
    #[must_use]
    pub fn bad_value(&self, key: &str, what: &str) -> DialectError {
        let (text, position) = match self.get(key) {
            Some(value) => (value.text.as_str(), value.value_position),
            None => ("", self.position),
        };
        let what = format!("option `{key}` of {} is '{text}': {what}", self.owner);
        self.source.error(position, what)
    }

    fn ask(&mut self, key: &str) -> Option<&OptionValue> {
        if !self.asked.contains(key) {
            self.asked.insert(key.to_owned());
        }
        self.get(key)
    }

    fn parsed<T>(
        &mut self,
        key: &str,
        form: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, DialectError> {
        let Some(value) = self.ask(key) else {
            return Ok(None);
        };
        match parse(value.text.trim()) {
            Some(parsed) => Ok(Some(parsed)),
            None => Err(self.bad_value(key, &format!("it must be {form}"))),
        }
    }
}

/// What [`parse_duration`] reads, for messages.
pub const DURATION_FORM: &str =
    "a number and a unit such as '50 ms', '30 s', '5 minutes' or '1h 30m'";

/// A length of time: numbers with units, added up. Units are `ns`, `us`, `ms`, `s`, `m`, `h`, `days`, `weeks`
/// and their longer names.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    // A lone `M` is a month and `m` a minute, so the spelling as written goes first.
    humantime::parse_duration(text)
        .or_else(|_| humantime::parse_duration(&text.to_lowercase()))
        .ok()
}
