//! TOML files, read key by key.
//!
//! Responsible for the position (line and column) of every error and finding, and for the kinds of values.
//! Must not know what a key means. A message never repeats a value: it may be a password.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use windlass_driver::read_file;

/// The largest configuration file that is read.
const LARGEST: u64 = 4 << 20;

/// Why a configuration file cannot be used: the file, the line and column where known, and the reason.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileError {
    path: PathBuf,
    position: Option<Position>,
    what: String,
}

/// A line and a column of a file, both counted from 1. The column counts characters.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// Something in a file that is not as it should be and does not keep the file from being used.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Finding {
    /// The file.
    pub path: PathBuf,
    /// Where in the file.
    pub position: Option<Position>,
    /// What was found, without values.
    pub what: String,
    /// Whether people should be told without asking. What the owner of a format ignores silently is
    /// for [`explain`](crate::hosts::Plan) only.
    pub is_warning: bool,
}

impl FileError {
    pub(crate) fn new(path: &Path, what: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            position: None,
            what: what.into(),
        }
    }

    pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Self {
        Self::new(path, format!("cannot read it: {error}"))
    }

    pub(crate) fn with_reason(mut self, what: String) -> Self {
        self.what = what;
        self
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where in the file, if the file could be read.
    pub const fn position(&self) -> Option<Position> {
        self.position
    }

    /// The reason, without the file.
    pub fn reason(&self) -> &str {
        &self.what
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        located(f, &self.path, self.position, &self.what)
    }
}

impl std::error::Error for FileError {}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        located(f, &self.path, self.position, &self.what)
    }
}

fn located(
    f: &mut fmt::Formatter<'_>,
    path: &Path,
    position: Option<Position>,
    what: &str,
) -> fmt::Result {
    write!(f, "{}", path.display())?;
    if let Some(Position { line, column }) = position {
        write!(f, ":{line}:{column}")?;
    }
    write!(f, ": {what}")
}

/// Reads a file as text. `None` if there is none.
pub(crate) fn read_text(path: &Path) -> Result<Option<String>, FileError> {
    let bytes = match read_file(path, LARGEST) {
        Ok(bytes) => bytes,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(FileError::unreadable(path, &error)),
    };
    let text = String::from_utf8(bytes);
    let text = text.map_err(|_| FileError::new(path, "it is not valid UTF-8"))?;
    Ok(Some(text))
}

/// Whether there is nothing at a path.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// A file's text, for positions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) path: &'a Path,
    pub(crate) text: &'a str,
}

impl<'a> Source<'a> {
    /// Parses the text.
    pub(crate) fn parse(self) -> Result<Spanned<DeTable<'a>>, FileError> {
        DeTable::parse(self.text).map_err(|error| self.parse_error(&error))
    }

    /// An error of the parser. Its own way to print itself shows the line, which may hold a password.
    pub(crate) fn parse_error(self, error: &toml::de::Error) -> FileError {
        let what = without_values(error.message());
        match error.span() {
            Some(span) => self.error(span, what),
            None => FileError::new(self.path, what),
        }
    }

    pub(crate) fn error(self, at: Range<usize>, what: impl Into<String>) -> FileError {
        FileError {
            position: Some(self.position(at.start)),
            ..FileError::new(self.path, what)
        }
    }

    pub(crate) fn position(self, at: usize) -> Position {
        let mut at = at.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        let before = &self.text[..at];
        let line = before.rsplit('\n').next().unwrap_or_default();
        Position {
            line: before.matches('\n').count() + 1,
            column: line.chars().count() + 1,
        }
    }
}

/// serde's messages repeat the strings that they complain about.
fn without_values(message: &str) -> String {
    let message = message.trim_end();
    let Some((before, rest)) = message.split_once("string \"") else {
        return message.to_owned();
    };
    match rest.rfind("\", expected") {
        Some(end) => format!("{before}a string{}", &rest[end + 1..]),
        None => format!("{before}a string"),
    }
}

/// A table of a file.
#[derive(Clone, Debug)]
pub(crate) struct Section<'a> {
    source: Source<'a>,
    table: &'a DeTable<'a>,
    at: Range<usize>,
}

/// A value and where it is.
#[derive(Clone, Debug)]
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(crate) at: Range<usize>,
}

impl<'a> Section<'a> {
    pub(crate) fn root(source: Source<'a>, root: &'a Spanned<DeTable<'a>>) -> Self {
        Self {
            source,
            table: root.get_ref(),
            at: 0..0,
        }
    }

    fn of(
        source: Source<'a>,
        value: &'a Spanned<DeValue<'a>>,
        name: &str,
    ) -> Result<Self, FileError> {
        match value.get_ref().as_table() {
            Some(table) => Ok(Self {
                source,
                table,
                at: value.span(),
            }),
            None => Err(source.error(value.span(), format!("{name} must be a table"))),
        }
    }

    pub(crate) const fn source(&self) -> Source<'a> {
        self.source
    }

    pub(crate) fn at(&self) -> Range<usize> {
        self.at.clone()
    }

    pub(crate) fn value(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table.get(key)
    }

    pub(crate) fn string(&self, key: &str) -> Result<Option<Located<&'a str>>, FileError> {
        self.value(key)
            .map(|value| self.text(value, key))
            .transpose()
    }

    pub(crate) fn boolean(&self, key: &str) -> Result<Option<bool>, FileError> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        let found = value.get_ref().as_bool();
        let wrong = || self.error(value.span(), format!("{key} must be true or false"));
        found.map(Some).ok_or_else(wrong)
    }

    /// A list of strings, in the order of the file.
    pub(crate) fn strings(&self, key: &str) -> Result<Option<Vec<Located<&'a str>>>, FileError> {
        let Some(value) = self.value(key) else {
            return Ok(None);
        };
        let Some(array) = value.get_ref().as_array() else {
            let what = format!("{key} must be a list of strings");
            return Err(self.error(value.span(), what));
        };
        let texts = array.iter().map(|value| self.text(value, key));
        texts.collect::<Result<_, _>>().map(Some)
    }

    /// A string, or a list of them.
    pub(crate) fn one_or_more(&self, key: &str) -> Result<Vec<Located<&'a str>>, FileError> {
        match self.value(key) {
            None => Ok(Vec::new()),
            Some(value) if value.get_ref().is_str() => Ok(vec![self.text(value, key)?]),
            Some(_) => Ok(self.strings(key)?.unwrap_or_default()),
        }
    }

    pub(crate) fn section(&self, key: &str) -> Result<Option<Self>, FileError> {
        let value = self.value(key);
        value
            .map(|value| Self::of(self.source, value, key))
            .transpose()
    }

    /// A list of tables, `[[key]]`.
    pub(crate) fn sections(&self, key: &str) -> Result<Vec<Self>, FileError> {
        let Some(value) = self.value(key) else {
            return Ok(Vec::new());
        };
        let Some(array) = value.get_ref().as_array() else {
            let what = format!("{key} must be a list of tables: [[{key}]]");
            return Err(self.error(value.span(), what));
        };
        let tables = array.iter().map(|value| Self::of(self.source, value, key));
        tables.collect()
    }

    /// The tables in this one with their names, in the order of the file.
    pub(crate) fn named_sections(&self) -> Result<Vec<(Located<&'a str>, Self)>, FileError> {
        let tables = self.table.iter().map(|(key, value)| {
            let name = Located {
                value: &**key.get_ref(),
                at: key.span(),
            };
            Ok((name, Self::of(self.source, value, key.get_ref())?))
        });
        tables.collect()
    }

    /// The keys and values in the order of the file.
    pub(crate) fn entries(
        &self,
    ) -> impl Iterator<Item = (Located<&'a str>, &'a Spanned<DeValue<'a>>)> {
        self.table.iter().map(|(key, value)| {
            let key = Located {
                value: &**key.get_ref(),
                at: key.span(),
            };
            (key, value)
        })
    }

    /// The keys that are none of these.
    pub(crate) fn unknown(&self, known: &[&str]) -> Vec<Located<&'a str>> {
        let keys = self.entries().map(|(key, _)| key);
        keys.filter(|key| !known.contains(&key.value)).collect()
    }

    pub(crate) fn text(
        &self,
        value: &'a Spanned<DeValue<'a>>,
        key: &str,
    ) -> Result<Located<&'a str>, FileError> {
        match value.get_ref().as_str() {
            Some(text) => Ok(Located {
                value: text,
                at: value.span(),
            }),
            None => Err(self.error(value.span(), format!("{key} must be a string"))),
        }
    }

    pub(crate) fn error(&self, at: Range<usize>, what: impl Into<String>) -> FileError {
        self.source.error(at, what)
    }

    /// A finding about a key that nothing reads.
    pub(crate) fn unread(&self, key: &Located<&str>, is_warning: bool) -> Finding {
        Finding {
            path: self.source.path.to_owned(),
            position: Some(self.source.position(key.at.start)),
            what: format!("unknown key {:?}, ignored", key.value),
            is_warning,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        let path = Path::new("/f.toml");
        let source = Source { path, text };
        source.parse().expect_err("broken").to_string()
    }

    #[test]
    fn errors_have_a_position_and_no_values() {
        let text = "a = 1\npassword = \"s3cret\" s3cret2\n";
        let error = error(text);
        assert!(error.starts_with("/f.toml:2:"), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
        let hidden = without_values("invalid type: string \"s3c\", expected\", expected a table");
        assert_eq!(hidden, "invalid type: a string, expected a table");
    }

    #[test]
    fn positions_count_characters() {
        let source = Source {
            path: Path::new("f"),
            text: "ü = 1\r\nä = 2\n",
        };
        let position = |line, column| Position { line, column };
        let at = |needle: &str| source.position(source.text.find(needle).expect("it is there"));
        assert_eq!(at("1"), position(1, 5));
        assert_eq!(at("2"), position(2, 5));
        assert_eq!(source.position(usize::MAX), position(3, 1));
        assert_eq!(source.position(1), position(1, 1), "within a character");
    }

    #[test]
    fn values_of_the_wrong_kind_are_refused_where_they_are() {
        let path = Path::new("f");
        let text = "s = 1\nb = \"x\"\nl = [1]\nt = 2\n[u]\n";
        let source = Source { path, text };
        let root = source.parse().expect("TOML");
        let section = Section::root(source, &root);
        let table: [(Option<FileError>, &str); 6] = [
            (section.string("s").err(), "f:1:5: s must be a string"),
            (section.boolean("b").err(), "f:2:5: b must be true or false"),
            (section.strings("l").err(), "f:3:6: l must be a string"),
            (
                section.one_or_more("t").err(),
                "f:4:5: t must be a list of strings",
            ),
            (section.section("t").err(), "f:4:5: t must be a table"),
            (
                section.sections("u").err(),
                "f:5:1: u must be a list of tables: [[u]]",
            ),
        ];
        for (error, expected) in table {
            assert_eq!(
                error.map(|error| error.to_string()).as_deref(),
                Some(expected)
            );
        }
        let unknown = section.unknown(&["s", "b", "l"]);
        let unknown: Vec<_> = unknown.iter().map(|key| key.value).collect();
        assert_eq!(unknown, ["t", "u"]);
    }
}
