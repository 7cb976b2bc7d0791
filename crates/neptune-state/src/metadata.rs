//! `metadata.json`: what a checkpoint is of. Written once, when it is created; a person can read it.

use std::fmt::{self, Display};
use std::hash::{BuildHasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Damage;
use crate::storage::Storage;
use crate::{Backend, KeyGroups, StateError};

pub(crate) const PATH: &str = "metadata.json";
const FORMAT: &str = "neptune-checkpoint";
const VERSION: u32 = 1;

/// One operator of a query, as far as its state depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// Its name, unique in the query: "aggregate 1".
    pub name: String,
    /// Whatever must stay the same so that its state can be read again: its keys, functions and types.
    pub description: String,
}

impl Operator {
    /// An operator.
    pub fn new(name: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            description: description.into(),
        }
    }
}

/// How an operator differs from the one that wrote a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorChange {
    /// Its name.
    pub name: String,
    /// Its description in the checkpoint; none if it is new.
    pub before: Option<String>,
    /// Its description now; none if it is gone.
    pub after: Option<String>,
}

impl Display for OperatorChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => {
                write!(f, "operator '{name}' was `{before}` and is `{after}`")
            }
            (Some(before), None) => write!(f, "operator '{name}' (`{before}`) is gone"),
            (None, Some(after)) => write!(f, "operator '{name}' (`{after}`) is new"),
            (None, None) => write!(f, "operator '{name}'"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Metadata {
    /// Tells this checkpoint from all others.
    pub(crate) run: u64,
    /// Milliseconds since 1970.
    pub(crate) created: u64,
    pub(crate) key_groups: u16,
    pub(crate) backend: String,
    pub(crate) query: Vec<Operator>,
}

#[derive(Debug, Serialize, Deserialize)]
struct File {
    format: String,
    version: u32,
    /// Of the content, written without blanks.
    crc32: u32,
    content: Metadata,
}

impl Metadata {
    pub(crate) fn new(groups: KeyGroups, backend: &Backend, query: &[Operator]) -> Self {
        // The one source of randomness in the standard library.
        let run = RandomState::new().hash_one((std::process::id(), SystemTime::now()));
        let created = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        Self {
            run,
            created,
            key_groups: groups.count(),
            backend: backend.name().to_owned(),
            query: query.to_vec(),
        }
    }

    fn crc(&self) -> u32 {
        // Strings and numbers can always be written as JSON.
        crc32fast::hash(&serde_json::to_vec(self).unwrap_or_default())
    }

    pub(crate) fn write(&self, storage: &dyn Storage) -> Result<(), StateError> {
        let file = File {
            format: FORMAT.to_owned(),
            version: VERSION,
            crc32: self.crc(),
            content: self.clone(),
        };
        let mut text = serde_json::to_vec_pretty(&file)
            .map_err(|error| StateError::malformed(storage.locate(PATH), error))?;
        text.push(b'\n');
        storage.put(PATH, &[&text])
    }

    pub(crate) fn read(storage: &dyn Storage) -> Result<Option<Self>, StateError> {
        let Some(text) = storage.get(PATH)? else {
            return Ok(None);
        };
        let path = storage.locate(PATH);
        decode(&text)
            .map(Some)
            .map_err(|damage| StateError::Damaged { path, damage })
    }

    /// Whether a job with these settings may go on from here.
    pub(crate) fn check(
        &self,
        path: String,
        backend: &Backend,
        query: &[Operator],
    ) -> Result<(), StateError> {
        let changes = differences(&self.query, query);
        if !changes.is_empty() {
            return Err(StateError::QueryChanged { path, changes });
        }
        if self.backend != backend.name() {
            return Err(StateError::BackendChanged {
                path,
                was: self.backend.clone(),
                asked: backend.name().to_owned(),
            });
        }
        Ok(())
    }
}

fn decode(text: &[u8]) -> Result<Metadata, Damage> {
    // First what every version has, so that a newer file is known as one.
    let value: Value =
        serde_json::from_slice(text).map_err(|error| Damage::Malformed(error.to_string()))?;
    if value.get("format").and_then(Value::as_str) != Some(FORMAT) {
        return Err(Damage::NotOurs);
    }
    match value.get("version").and_then(Value::as_u64) {
        Some(version) if version <= u64::from(VERSION) => {}
        Some(version) => {
            return Err(Damage::Newer {
                found: u32::try_from(version).unwrap_or(u32::MAX),
                known: VERSION,
            });
        }
        None => return Err(Damage::Malformed("it has no version".to_owned())),
    }
    let file: File =
        serde_json::from_value(value).map_err(|error| Damage::Malformed(error.to_string()))?;
    if file.version != VERSION {
        return Err(Damage::Malformed(format!(
            "there is no version {}",
            file.version
        )));
    }
    if file.crc32 != file.content.crc() {
        return Err(Damage::Content);
    }
    Ok(file.content)
}

fn differences(before: &[Operator], after: &[Operator]) -> Vec<OperatorChange> {
    let find = |list: &[Operator], name: &str| {
        list.iter()
            .find(|operator| operator.name == name)
            .map(|operator| operator.description.clone())
    };
    let was = before.iter().map(|operator| OperatorChange {
        name: operator.name.clone(),
        before: Some(operator.description.clone()),
        after: find(after, &operator.name),
    });
    let new = after
        .iter()
        .filter(|operator| find(before, &operator.name).is_none())
        .map(|operator| OperatorChange {
            name: operator.name.clone(),
            before: None,
            after: Some(operator.description.clone()),
        });
    was.chain(new)
        .filter(|change| change.before != change.after)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(operators: &[(&str, &str)]) -> Vec<Operator> {
        operators
            .iter()
            .map(|(name, description)| Operator::new(*name, *description))
            .collect()
    }

    #[test]
    fn differences_say_which_operator_was_what() {
        let before = query(&[
            ("aggregate 1", "count by a"),
            ("join 1", "a = b"),
            ("limit", "3"),
        ]);
        let after = query(&[
            ("aggregate 1", "sum by a"),
            ("limit", "3"),
            ("distinct", "c"),
        ]);
        let text: Vec<String> = differences(&before, &after)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            text,
            [
                "operator 'aggregate 1' was `count by a` and is `sum by a`",
                "operator 'join 1' (`a = b`) is gone",
                "operator 'distinct' (`c`) is new",
            ]
        );
        assert!(differences(&before, &before).is_empty());
        let moved = query(&[
            ("limit", "3"),
            ("join 1", "a = b"),
            ("aggregate 1", "count by a"),
        ]);
        assert!(differences(&before, &moved).is_empty());
    }

    #[test]
    fn a_newer_or_foreign_file_is_known_as_one() {
        let newer = br#"{"format": "neptune-checkpoint", "version": 2, "body": []}"#;
        assert_eq!(decode(newer), Err(Damage::Newer { found: 2, known: 1 }));
        assert_eq!(decode(br#"{"version": 1}"#), Err(Damage::NotOurs));
        assert!(matches!(decode(b""), Err(Damage::Malformed(_))));
    }
}
