//! The JSON of a file with credentials.
//!
//! Responsible for parsing each part when it is used, so that errors in other registries' entries do
//! not matter, and for errors that have a position in the file and quote nothing of it. Must not know
//! what the parts mean.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// The members of an object, each parsed on use.
pub(super) type Members<'a> = BTreeMap<String, &'a RawValue>;

/// A text, and what messages call it.
#[derive(Clone, Copy)]
pub(super) struct Document<'a> {
    pub(super) label: &'a str,
    text: &'a str,
}

impl<'a> Document<'a> {
    /// # Errors
    ///
    /// If it is not text.
    pub(super) fn new(label: &'a str, bytes: &'a [u8]) -> Result<Self, String> {
        match std::str::from_utf8(bytes) {
            // Some editors begin files with a mark.
            Ok(text) => Ok(Self {
                label,
                text: text.strip_prefix('\u{feff}').unwrap_or(text),
            }),
            Err(error) => {
                let good = bytes.get(..error.valid_up_to()).unwrap_or_default();
                let good = String::from_utf8_lossy(good);
                let (line, column) = after(&good);
                Err(format!(
                    "{label} is not valid UTF-8 at line {line}, column {column}"
                ))
            }
        }
    }

    /// The members of the whole. An empty text has none.
    pub(super) fn members(&self) -> Result<Members<'a>, String> {
        if self.text.trim().is_empty() {
            return Ok(Members::default());
        }
        self.parse(self.text).map_err(|(why, position)| match why {
            Why::Form => format!(
                "{} is not in the form of docker's configuration{position}",
                self.label
            ),
            Why::Json => format!("{} is not valid JSON{position}", self.label),
        })
    }

    /// The members of a part that is an object; absent or `null` has none.
    pub(super) fn members_of(
        &self,
        what: &str,
        part: Option<&&'a RawValue>,
    ) -> Result<Members<'a>, String> {
        let Some(part) = part else {
            return Ok(Members::default());
        };
        let read: Option<_> = self.read(what, part.get())?;
        Ok(read.unwrap_or_default())
    }

    /// A part; absent or `null` counts as empty.
    pub(super) fn part<T>(&self, what: &str, part: Option<&&'a RawValue>) -> Result<T, String>
    where
        T: Default + DeserializeOwned,
    {
        let Some(part) = part else {
            return Ok(T::default());
        };
        let read: Option<T> = self.read(what, part.get())?;
        Ok(read.unwrap_or_default())
    }

    fn read<T: Deserialize<'a>>(&self, what: &str, part: &'a str) -> Result<T, String> {
        self.parse(part).map_err(|(_, position)| {
            format!(
                "{}: {what} is not in the form of docker's configuration{position}",
                self.label
            )
        })
    }

    /// The message of serde_json quotes the text and could show a password.
    fn parse<T: Deserialize<'a>>(&self, part: &'a str) -> Result<T, (Why, String)> {
        serde_json::from_str(part).map_err(|error| {
            let why = if error.is_data() {
                Why::Form
            } else {
                Why::Json
            };
            let (line, column) = position(self.text, part, error.line(), error.column());
            (why, format!(" at line {line}, column {column}"))
        })
    }
}

/// Where in a text are `line` and `column` of a part, which is a slice of it.
pub(super) fn position(text: &str, part: &str, line: usize, column: usize) -> (usize, usize) {
    let offset = part.as_ptr().addr().wrapping_sub(text.as_ptr().addr());
    let before = text.get(..offset).unwrap_or_default();
    let (first, begin) = after(before);
    match line {
        0 | 1 => (first, begin - 1 + column.max(1)),
        _ => (first + line - 1, column),
    }
}

enum Why {
    /// It is JSON, but another value than what belongs there.
    Form,
    Json,
}

/// The line and column, from 1, of what comes after `text`.
fn after(text: &str) -> (usize, usize) {
    let line = text.matches('\n').count() + 1;
    let last = text.rsplit('\n').next().unwrap_or_default();
    (line, last.len() + 1)
}
