//! The only place that writes to standard output and standard error.
//!
//! Responsible for what goes where and in which form: data to standard output, everything for
//! people to standard error. Must not know what the words mean.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{MultiProgress, ProgressDrawTarget};

/// Decides what is shown, and where.
#[derive(Debug)]
pub(crate) struct Printer {
    chatter: Chatter,
    is_json: bool,
    has_color: bool,
    bars: MultiProgress,
    /// Whoever read our data went away; there is no point in writing more of it.
    is_output_gone: AtomicBool,
}

/// How much is said beside data and errors.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Chatter {
    /// Nothing.
    Quiet,
    /// One line for what is worth one.
    Lines,
    /// Bars that move; the same lines between them.
    Bars,
    /// Every request and answer.
    Trace,
}

/// The form of data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    /// A digest, or whatever else fits a line.
    Text,
    /// A JSON object.
    Json,
}

/// What standard error can show.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Terminal {
    /// It is none, or one that cannot move its cursor.
    None,
    /// Lines that change.
    Plain,
    /// The same in colour.
    Colored,
}

impl Terminal {
    /// What the variables say about a terminal.
    fn from_variables(variables: impl Fn(&str) -> Option<OsString>) -> Self {
        if variables("TERM").is_some_and(|term| term == "dumb") {
            return Self::None;
        }
        // https://no-color.org: if it is set and not empty.
        if variables("NO_COLOR").is_some_and(|value| !value.is_empty()) {
            return Self::Plain;
        }
        Self::Colored
    }
}

impl Printer {
    /// A printer on this process' streams. Bars are shown on a terminal only.
    pub(crate) fn new(chatter: Chatter, form: Form) -> Self {
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
            is_json: form == Form::Json,
            has_color: terminal == Terminal::Colored,
            bars: MultiProgress::with_draw_target(target),
            is_output_gone: AtomicBool::new(false),
        }
    }

    /// What was chosen, with the terminal taken into account.
    pub(crate) const fn chatter(&self) -> Chatter {
        self.chatter
    }

    /// Whether data is to be JSON.
    pub(crate) const fn is_json(&self) -> bool {
        self.is_json
    }

    /// Whether there may be colour.
    pub(crate) const fn has_color(&self) -> bool {
        self.has_color
    }

    /// Where bars live.
    pub(crate) const fn bars(&self) -> &MultiProgress {
        &self.bars
    }

    /// The result of a command. It is one line, so a reader that went away did not get it.
    pub(crate) fn result(&self, line: &str) -> io::Result<()> {
        self.bars.suspend(|| {
            let mut out = io::stdout().lock();
            writeln!(out, "{line}").and_then(|()| out.flush())
        })
    }

    /// A line of many. A reader that went away is no error: it has what it wanted.
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

    /// Something people may like to know.
    pub(crate) fn note(&self, line: &str) {
        if self.chatter != Chatter::Quiet {
            self.line(line);
        }
    }

    /// Something people should know.
    pub(crate) fn warning(&self, line: &str) {
        if self.chatter != Chatter::Quiet {
            self.labelled("warning:", "\x1b[33;1m", line);
        }
    }

    /// A line of the live transcript.
    pub(crate) fn trace(&self, line: &str) {
        if self.chatter == Chatter::Trace {
            self.line(line);
        }
    }

    /// Why it failed.
    pub(crate) fn error(&self, line: &str) {
        self.labelled("error:", "\x1b[31;1m", line);
    }

    /// What can be done about it.
    pub(crate) fn hint(&self, line: &str) {
        self.labelled("hint:", "\x1b[36;1m", line);
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
            // Not `eprintln!`, which panics when nobody reads: there is nobody to tell.
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
