//! The only place that writes to standard output and standard error.
//!
//! Responsible for streams and form: data to standard output, text for people to standard error.
//! Must not know the meaning of the text.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{MultiProgress, ProgressDrawTarget};

/// Writes data, messages and progress bars.
#[derive(Debug)]
pub(crate) struct Printer {
    chatter: Chatter,
    is_json: bool,
    has_color: bool,
    bars: MultiProgress,
    /// The reader of standard output has closed it: write no more.
    is_output_gone: AtomicBool,
}

/// How much is printed beside data and errors.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Chatter {
    Quiet,
    /// A line for each notable event.
    Lines,
    /// Progress bars, and the same lines between them.
    Bars,
    /// The transcript.
    Trace,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum OutputFormat {
    /// One line, for instance a digest.
    Text,
    Json,
}

/// What standard error can display.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Terminal {
    /// Not a terminal, or one that cannot move its cursor.
    None,
    /// A terminal without colour.
    Plain,
    /// A terminal with colour.
    Colored,
}

impl Terminal {
    /// Reads `TERM` and `NO_COLOR`.
    fn from_variables(variables: impl Fn(&str) -> Option<OsString>) -> Self {
        if variables("TERM").is_some_and(|term| term == "dumb") {
            return Self::None;
        }
        // https://no-color.org: set and not empty.
        if variables("NO_COLOR").is_some_and(|value| !value.is_empty()) {
            return Self::Plain;
        }
        Self::Colored
    }
}

impl Printer {
    /// A printer on this process's streams. Shows bars on a terminal only.
    pub(crate) fn new(chatter: Chatter, format: OutputFormat) -> Self {
        let terminal = if io::stderr().is_terminal() {
            Terminal::from_variables(|name| std::env::var_os(name))
        } else {
            Terminal::None
        };
        let chatter = if chatter == Chatter::Bars && terminal == Terminal::None {
            Chatter::Lines
        } else {
            chatter
        };
        let target = match chatter {
            Chatter::Bars => ProgressDrawTarget::stderr(),
            Chatter::Quiet | Chatter::Lines | Chatter::Trace => ProgressDrawTarget::hidden(),
        };
        Self {
            chatter,
            is_json: format == OutputFormat::Json,
            has_color: terminal == Terminal::Colored,
            bars: MultiProgress::with_draw_target(target),
            is_output_gone: AtomicBool::new(false),
        }
    }

    /// The chatter that was asked for, reduced to what the terminal can display.
    pub(crate) const fn chatter(&self) -> Chatter {
        self.chatter
    }

    pub(crate) const fn is_json(&self) -> bool {
        self.is_json
    }

    pub(crate) const fn has_color(&self) -> bool {
        self.has_color
    }

    pub(crate) const fn bars(&self) -> &MultiProgress {
        &self.bars
    }

    /// Prints the result of a command. A closed pipe is an error: the one line was lost.
    pub(crate) fn result(&self, line: &str) -> io::Result<()> {
        self.bars.suspend(|| {
            let mut out = io::stdout().lock();
            writeln!(out, "{line}").and_then(|()| out.flush())
        })
    }

    /// Prints bytes as they are.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> io::Result<()> {
        self.bars.suspend(|| {
            let mut out = io::stdout().lock();
            out.write_all(bytes).and_then(|()| out.flush())
        })
    }

    /// Prints all bytes that there are.
    pub(crate) fn copy(&self, bytes: &mut dyn io::Read) -> io::Result<()> {
        self.bars.suspend(|| {
            let mut out = io::stdout().lock();
            io::copy(bytes, &mut out).and_then(|_| out.flush())
        })
    }

    /// Prints one of many lines. A closed pipe is no error: the reader needs no more.
    pub(crate) fn data(&self, line: &str) -> io::Result<()> {
        if self.is_output_gone.load(Ordering::Relaxed) {
            return Ok(());
        }
        match self.result(line) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.is_output_gone.store(true, Ordering::Relaxed);
                Ok(())
            }
            written => written,
        }
    }

    /// Prints a line of information.
    pub(crate) fn note(&self, line: &str) {
        if self.chatter != Chatter::Quiet {
            self.line(line);
        }
    }

    pub(crate) fn warning(&self, line: &str) {
        if self.chatter != Chatter::Quiet {
            self.labelled("warning:", "\x1b[33;1m", line);
        }
    }

    /// Prints a line of the transcript, with `--trace` only.
    pub(crate) fn trace(&self, line: &str) {
        if self.chatter == Chatter::Trace {
            self.line(line);
        }
    }

    pub(crate) fn error(&self, line: &str) {
        self.labelled("error:", "\x1b[31;1m", line);
    }

    pub(crate) fn hint(&self, line: &str) {
        self.labelled("hint:", "\x1b[36;1m", line);
    }

    /// Prints what programs read of a failure. Standard output is for results.
    pub(crate) fn last(&self, line: &str) {
        self.line(line);
    }

    fn labelled(&self, label: &str, color: &str, line: &str) {
        if self.has_color {
            self.line(&format!("{color}{label}\x1b[0m {line}"));
        } else {
            self.line(&format!("{label} {line}"));
        }
    }

    fn line(&self, line: &str) {
        self.bars.suspend(|| {
            // Not `eprintln!`, which panics if standard error is closed.
            let _nobody_reads = writeln!(io::stderr().lock(), "{line}");
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_can_show() {
        let table: [(&[(&str, &str)], Terminal); 6] = [
            (&[], Terminal::Colored),
            (&[("TERM", "xterm-256color")], Terminal::Colored),
            (&[("NO_COLOR", "1")], Terminal::Plain),
            (&[("NO_COLOR", "")], Terminal::Colored),
            (&[("TERM", "dumb")], Terminal::None),
            (&[("TERM", "dumb"), ("NO_COLOR", "1")], Terminal::None),
        ];
        for (variables, expected) in table {
            let terminal = Terminal::from_variables(|name| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| value.into())
            });
            assert_eq!(terminal, expected, "{variables:?}");
        }
    }
}
