//! `windlass replay`: prints a tape and checks that it replays.

use serde_json::json;
use windlass_core::tape::{ReplayError, replay};
use windlass_driver::read_file;

use super::Context;
use crate::args::Replay;
use crate::exit::Problem;

/// The largest tape that is read; most have less than 1 MiB.
const LARGEST: u64 = 64 << 20;

pub(super) fn run(context: &Context, wanted: &Replay) -> Result<(), Problem> {
    let file = wanted.file.display();
    let bytes = read_file(&wanted.file, LARGEST)
        .map_err(|error| Problem::Usage(format!("cannot read {file}: {error}")))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Problem::Usage(format!("{file} is not a tape: it is not UTF-8")))?;
    let replay = replay(&text);
    let printer = &context.printer;
    if printer.is_json() && replay.end.is_ok() {
        let line = json!({ "madeBy": replay.made_by, "lines": replay.lines });
        printer.result(&line.to_string()).map_err(Problem::Output)?;
    } else if !printer.is_json() {
        for line in &replay.lines {
            printer.data(line).map_err(Problem::Output)?;
        }
    }
    match replay.end {
        Ok(()) => Ok(()),
        Err(error @ (ReplayError::Diverged { .. } | ReplayError::Broken { .. })) => {
            let (made_by, ours) = (replay.made_by, env!("CARGO_PKG_VERSION"));
            let is_other = made_by != ours;
            let hint = is_other
                .then(|| format!("the tape was made by windlass {made_by}, this is {ours}"));
            Err(Problem::Tape { error, hint })
        }
        Err(error) => Err(Problem::Usage(format!("{file} is not a tape: {error}"))),
    }
}
