//! Makes tests of tapes.
//!
//! `adopt FILE NAME` commits a tape as `tests/tapes/NAME.tape`, with what it replays to. Without
//! arguments it updates the transcripts of all committed tapes; review the difference.
#![allow(clippy::print_stderr, reason = "it reports to the user")]

use std::process::ExitCode;

use windlass_tests::tapes;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let result = match &words[..] {
        [] => tapes::committed()
            .iter()
            .try_for_each(|tape| tapes::write_transcript(tape)),
        [file, name] => std::fs::read_to_string(file)
            .map_err(|error| format!("{file}: {error}"))
            .and_then(|tape| tapes::adopt(&tape, name))
            .map(|path| eprintln!("{}, and its transcript beside it", path.display())),
        _ => Err("usage: adopt [FILE NAME]".to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("adopt: {why}");
            ExitCode::FAILURE
        }
    }
}
