//! Tapes: kept in memory while a test runs, and those that are committed.
//!
//! Below `tests/tapes` each `NAME.tape` stands beside a `NAME.transcript`: what it replays to. A tape
//! that diverges, because what it shows was a bug and is fixed, has the transcript up to there, and
//! what is different as its last line: that is what must stay.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use windlass_core::tape::{ReplayError, TapeSink, replay};

/// The password of the clients in the tests: no tape may hold it.
pub const PASSWORD: &str = "pa55-of-alice";

/// The lines of a tape, in memory. What was not checked yet is when it is dropped.
#[derive(Default)]
pub struct Lines(Mutex<Written>);

#[derive(Default)]
struct Written {
    text: String,
    /// How much of it there was when it was checked.
    checked: usize,
}

impl Lines {
    /// What was recorded so far.
    pub fn text(&self) -> String {
        self.lock().text.clone()
    }

    /// It can be replayed as far as it goes, and there is no password on it. Looks again only when it
    /// is twice as long, so that many calls of one client cost no more than a few, and when it is dropped.
    pub fn check(&self) {
        let tape = {
            let mut written = self.lock();
            if written.text.len() < written.checked * 2 {
                return;
            }
            written.checked = written.text.len();
            written.text.clone()
        };
        judge(&tape);
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn judge(tape: &str) {
    assert_eq!(replay(tape).end, Ok(()), "{tape}");
    assert!(!tape.contains(PASSWORD), "{tape}");
}

impl Drop for Lines {
    fn drop(&mut self) {
        let written = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if written.text.len() > written.checked && !std::thread::panicking() {
            judge(&written.text);
        }
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lines")
    }
}

impl TapeSink for Lines {
    fn line(&self, line: &str) {
        let text = &mut self.lock().text;
        text.push_str(line);
        text.push('\n');
    }
}

/// Checks that a replay says what was shown while it happened, as far as a tape has it: texts of
/// errors and warnings, user names, and parts of addresses are not on it.
#[track_caller]
pub fn assert_tells(replayed: &[String], shown: &[String]) {
    let words = |line: &str| {
        let is_prose = [" * failed: ", " * warning: ", " * try "]
            .iter()
            .any(|it| line.contains(it));
        let is_answer = line.starts_with('#') && line.contains(" < ");
        let line = match line.split_once(" with ") {
            Some((line, _)) if line.starts_with('#') => line,
            Some(_) | None => line,
        };
        let words = line.split(['/', ' ', '?']).map(str::to_owned);
        let most = if is_prose || is_answer { 3 } else { usize::MAX };
        words.take(most).collect::<Vec<_>>()
    };
    assert_eq!(replayed.len(), shown.len(), "{replayed:#?}\n{shown:#?}");
    for (replayed, shown) in replayed.iter().zip(shown) {
        let (these, those) = (words(replayed), words(shown));
        let is_same =
            |(this, that): (&String, &String)| this == that || this.starts_with("secret-");
        assert!(
            these.len() == those.len() && these.iter().zip(&those).all(is_same),
            "{replayed}\n{shown}"
        );
    }
}

/// Where the committed tapes are.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tapes")
}

/// The committed tapes.
pub fn committed() -> Vec<PathBuf> {
    let files = crate::files_below(&folder()).into_iter();
    let is_tape = |file: &PathBuf| file.extension().is_some_and(|it| it == "tape");
    files.filter(is_tape).collect()
}

/// Where the transcript of a committed tape is.
pub fn transcript_of(tape: &Path) -> PathBuf {
    tape.with_extension("transcript")
}

/// What a tape replays to, as it is committed.
///
/// # Errors
///
/// If it is no tape.
pub fn told(tape: &str) -> Result<String, ReplayError> {
    let replay = replay(tape);
    let mut told = replay.lines.join("\n");
    told.push('\n');
    match replay.end {
        Ok(()) => Ok(told),
        Err(error @ (ReplayError::Diverged { .. } | ReplayError::Broken { .. })) => {
            told.push_str(&format!("! {error}\n"));
            Ok(told)
        }
        Err(error) => Err(error),
    }
}

/// Commits a tape under this name, with what it replays to now. Answers where.
///
/// # Errors
///
/// If it is no tape, or has a secret on it.
pub fn adopt(tape: &str, name: &str) -> Result<PathBuf, String> {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "-_/".contains(char);
    if name.is_empty() || name.starts_with('/') || !name.chars().all(is_plain) {
        return Err(format!("{name:?}: letters, digits, - and _ make a name"));
    }
    if let Some(secret) = live_secret(tape) {
        return Err(format!("it has a secret on it: {secret}"));
    }
    told(tape).map_err(|error| error.to_string())?;
    let path = folder().join(name).with_extension("tape");
    let written = path
        .parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::write(&path, tape));
    written.map_err(|error| format!("{}: {error}", path.display()))?;
    write_transcript(&path)?;
    Ok(path)
}

/// Writes what a committed tape replays to now.
///
/// # Errors
///
/// If it is no tape.
pub fn write_transcript(path: &Path) -> Result<(), String> {
    let wrong = |error: &dyn fmt::Display| format!("{}: {error}", path.display());
    let tape = fs::read_to_string(path).map_err(|error| wrong(&error))?;
    let told = told(&tape).map_err(|error| wrong(&error))?;
    fs::write(transcript_of(path), told).map_err(|error| wrong(&error))
}

/// Something on a tape that is no placeholder where one must be: a tape is made by hand, or by
/// something else, if it has that.
pub fn live_secret(tape: &str) -> Option<String> {
    tape.lines().enumerate().find_map(|(at, line)| {
        let line_number = at + 1;
        let json: Value = serde_json::from_str(line).ok()?;
        let end = &json["done"]["end"];
        let what = credential(&end["credentials"]).or_else(|| answer(&end["http"]))?;
        Some(format!("{what} in line {line_number}"))
    })
}

fn credential(answer: &Value) -> Option<String> {
    let texts = [
        (&answer["basic"]["username"], "user-"),
        (&answer["basic"]["password"], "secret-"),
        (&answer["bearer"], "secret-"),
        (&answer["refresh"], "secret-"),
    ];
    let is_live =
        |(text, begin): &(&Value, &str)| text.as_str().is_some_and(|text| !text.starts_with(begin));
    let found = texts.into_iter().any(|text| is_live(&text));
    found.then(|| "a credential".to_owned())
}

fn answer(http: &Value) -> Option<String> {
    for header in http["headers"].as_array().into_iter().flatten() {
        let (name, value) = (header[0].as_str()?, header[1].as_str().unwrap_or(""));
        let query = value.split_once('?').map_or("", |(_, query)| query);
        let is_placeholder = |pair: &str| {
            let kept = ["", "secret-", "digest=", "mount=", "from="];
            kept.iter()
                .any(|it| pair == *it || (!it.is_empty() && pair.starts_with(it)))
        };
        if name == "location" && !query.split('&').all(is_placeholder) {
            return Some("the query of a Location".to_owned());
        }
    }
    let body = http["body"]["collected"]["bytes"].as_str()?;
    let json: Value = serde_json::from_str(body).ok()?;
    let tokens = ["token", "access_token", "refresh_token"].map(|name| json[name].as_str());
    let is_live = |token: &str| !token.starts_with("secret-");
    let found = tokens.into_iter().flatten().any(is_live);
    found.then(|| "a token".to_owned())
}
