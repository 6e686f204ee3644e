//! Shows the progress of a task.
//!
//! On a terminal: a bar for each large blob in flight, the largest on top, and below them a line
//! about the whole. Elsewhere: a line for each large blob when it is complete. Called from worker
//! threads, so every step is short.

mod whole;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use windlass_core::call::TransferId;
use windlass_core::{Digest, Event, TaskId, Totals};
use windlass_driver::Observer;

use self::whole::Whole;
use crate::printer::{Chatter, Printer};

/// Smaller blobs are too quick to be worth a bar or a line.
const LARGE: u64 = 1 << 20;

#[derive(Debug)]
pub(crate) struct Progress {
    printer: Arc<Printer>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    moving: HashMap<TransferId, Moving>,
    /// The blobs that have a bar, the largest first.
    shown: Vec<(u64, TransferId)>,
    whole: Whole,
    total: Option<ProgressBar>,
}

#[derive(Debug)]
struct Moving {
    digest: Digest,
    size: u64,
    from: u64,
    position: u64,
    since: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(crate) fn new(printer: Arc<Printer>) -> Self {
        Self {
            printer,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn started(&self, transfer: TransferId, digest: &Digest, size: u64, from: u64) {
        let mut state = self.state();
        if let Some(known) = state.moving.get_mut(&transfer) {
            known.from = from;
            let before = std::mem::replace(&mut known.position, from);
            state.whole.move_on(before, from, Instant::now());
            return;
        }
        state.whole.begin(from);
        let bar = (size >= LARGE && self.printer.chatter() == Chatter::Bars)
            .then(|| self.bar(&mut state, transfer, digest, size, from));
        let moving = Moving {
            digest: digest.clone(),
            size,
            from,
            position: from,
            since: Instant::now(),
            bar,
        };
        state.moving.insert(transfer, moving);
    }

    /// Inserts a bar, sorted by size.
    fn bar(
        &self,
        state: &mut State,
        transfer: TransferId,
        digest: &Digest,
        size: u64,
        from: u64,
    ) -> ProgressBar {
        let at = state.shown.partition_point(|(other, _)| *other >= size);
        state.shown.insert(at, (size, transfer));
        let bar = ProgressBar::with_draw_target(Some(size), ProgressDrawTarget::hidden())
            .with_style(bar_style(self.printer.has_color()))
            .with_prefix(shorter(digest).to_owned());
        // Bytes of an earlier run must not count as speed: set the position first, then restart the
        // measurement.
        bar.set_position(from);
        bar.tick();
        bar.reset_eta();
        self.printer.bars().insert(at, bar)
    }

    fn stored(&self, digest: &Digest) {
        if let Some(moving) = self.ended(digest)
            && moving.size >= LARGE
            && self.printer.chatter() == Chatter::Lines
        {
            self.printer.note(&finished_line(&moving));
        }
    }

    /// A blob is where it was wanted. What is known of it, if it was moving.
    fn ended(&self, digest: &Digest) -> Option<Moving> {
        let mut state = self.state();
        let found = state
            .moving
            .iter()
            .find(|(_, moving)| moving.digest == *digest);
        let transfer = found.map(|(transfer, _)| *transfer)?;
        let moving = state.moving.remove(&transfer)?;
        state.shown.retain(|(_, shown)| *shown != transfer);
        state.whole.end(moving.position);
        self.show_whole(&mut state);
        drop(state);
        if let Some(bar) = &moving.bar {
            bar.finish_and_clear();
            self.printer.bars().remove(bar);
        }
        Some(moving)
    }

    /// Updates the line below the bars.
    fn show_whole(&self, state: &mut State) {
        if self.printer.chatter() != Chatter::Bars {
            return;
        }
        let Some(message) = state.whole.line(Instant::now()) else {
            return;
        };
        let total = state.total.get_or_insert_with(|| {
            let bar = ProgressBar::new_spinner().with_style(total_style());
            let bar = self.printer.bars().add(bar);
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        total.set_message(message);
    }

    fn clear(&self) {
        let mut state = self.state();
        if let Some(total) = state.total.take() {
            total.finish_and_clear();
        }
        for (_, moving) in state.moving.drain() {
            if let Some(bar) = moving.bar {
                bar.finish_and_clear();
            }
        }
        state.shown.clear();
        state.whole = Whole::default();
    }
}

impl Observer for Progress {
    fn event(&self, _: TaskId, event: &Event) {
        match event {
            Event::Started {
                transfer,
                digest,
                size,
                from,
            } => self.started(*transfer, digest, *size, *from),
            Event::Stored { digest, .. } => self.stored(digest),
            Event::Skipped { digest, .. } => drop(self.ended(digest)),
            Event::Retrying {
                attempt,
                after,
                why,
            } if !self.traces() => self.printer.note(&format!(
                "retrying in {} (attempt {attempt} failed): {why}",
                Seconds(*after)
            )),
            Event::Paused {
                registry,
                budget,
                after,
            } if !self.traces() => self.printer.note(&format!(
                "pausing for {}: `{registry}` may be asked for {budget} manifests",
                Seconds(*after)
            )),
            Event::Warning(text) if !self.traces() => self.printer.warning(text),
            Event::Finished(_) => self.clear(),
            // With `--trace` these are in the transcript.
            Event::Retrying { .. } | Event::Paused { .. } | Event::Warning(_) => {}
            // `Resolved` is in the report. Events that this version does not know are not shown.
            Event::Resolved(_) | _ => {}
        }
    }

    fn totals(&self, _: TaskId, totals: &Totals) {
        let mut state = self.state();
        state.whole.set(*totals);
        self.show_whole(&mut state);
    }

    fn bytes(&self, transfer: TransferId, position: u64) {
        if self.printer.chatter() != Chatter::Bars {
            return;
        }
        let mut state = self.state();
        let Some(moving) = state.moving.get_mut(&transfer) else {
            return;
        };
        let before = std::mem::replace(&mut moving.position, position);
        if let Some(bar) = &moving.bar {
            bar.set_position(position);
        }
        state.whole.move_on(before, position, Instant::now());
        self.show_whole(&mut state);
    }

    fn trace(&self, line: &str) {
        self.printer.trace(line);
    }

    fn traces(&self) -> bool {
        self.printer.chatter() == Chatter::Trace
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Everything but the bar takes at most 55 columns; the bar takes the rest.
fn bar_style(has_color: bool) -> ProgressStyle {
    let template = if has_color {
        "{prefix} [{wide_bar:.cyan}] {binary_bytes:>10}/{binary_total_bytes:10} \
         {binary_bytes_per_sec:>12} {eta:>4}"
    } else {
        "{prefix} [{wide_bar}] {binary_bytes:>10}/{binary_total_bytes:10} \
         {binary_bytes_per_sec:>12} {eta:>4}"
    };
    ProgressStyle::with_template(template)
        .expect("the template is a constant")
        .progress_chars("=> ")
}

fn total_style() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {wide_msg}").expect("the template is a constant")
}

fn finished_line(moving: &Moving) -> String {
    let took = moving.since.elapsed();
    let mut line = format!(
        "{} {} in {}",
        short(&moving.digest),
        Size(moving.size),
        Seconds(took)
    );
    if moving.from > 0 {
        line.push_str(&format!(", continued at {}", Size(moving.from)));
    }
    line
}

fn short(digest: &Digest) -> String {
    format!("{}:{}", digest.algorithm_name(), shorter(digest))
}

/// The first 12 characters of the encoded digest.
fn shorter(digest: &Digest) -> &str {
    let encoded = digest.encoded();
    &encoded[..encoded.len().min(12)]
}

/// A number of bytes, in binary units.
pub(crate) struct Size(pub(crate) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        // In tenths, rounded to the nearest.
        let mut tenths = (u128::from(self.0) * 10 + 512) / 1024;
        let mut unit = 0;
        while tenths >= 10_240 && unit + 1 < UNITS.len() {
            tenths = (tenths + 512) / 1024;
            unit += 1;
        }
        write!(f, "{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
    }
}

pub(crate) struct Seconds(pub(crate) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < Duration::from_secs(60) {
            return write!(f, "{:.1} s", self.0.as_secs_f64());
        }
        let seconds = self.0.as_secs();
        if seconds < 60 * 60 {
            return write!(f, "{} min {} s", seconds / 60, seconds % 60);
        }
        write!(f, "{} h {} min", seconds / 3600, seconds / 60 % 60)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use indicatif::TermLike;

    use super::*;

    #[test]
    fn templates_are_templates() {
        for style in [bar_style(true), bar_style(false), total_style()] {
            ProgressBar::hidden().with_style(style).tick();
        }
    }

    /// A terminal that keeps the last line.
    #[derive(Debug)]
    struct Terminal {
        width: u16,
        written: Arc<Mutex<String>>,
    }

    impl TermLike for Terminal {
        fn width(&self) -> u16 {
            self.width
        }

        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, line: &str) -> io::Result<()> {
            self.write_str(line)
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            written.push_str(text);
            Ok(())
        }

        fn clear_line(&self) -> io::Result<()> {
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            written.clear();
            Ok(())
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    /// With the longest numbers, no line is wider than the terminal and there is room for a bar.
    #[test]
    fn lines_fit_the_terminal() {
        for width in [60, 80, 200] {
            let written = Arc::default();
            let terminal = Terminal {
                width,
                written: Arc::clone(&written),
            };
            let target = ProgressDrawTarget::term_like(Box::new(terminal));
            let size = 1000 << 30;
            let digest = Digest::of(windlass_core::Algorithm::Sha256, b"");
            let bar = ProgressBar::with_draw_target(Some(size), target)
                .with_style(bar_style(false))
                .with_prefix(shorter(&digest).to_owned());
            bar.set_position(size - (700 << 20));
            bar.tick();
            let line = written.lock().expect("no panic").trim_end().to_owned();
            assert!(line.starts_with("e3b0c44298fc [=="), "{width}: {line}");
            assert!(line.contains("iB/1000.00 GiB"), "{width}: {line}");
            assert!(line.contains("iB/s "), "{width}: {line}");
            let columns = line.chars().count();
            assert!(columns <= usize::from(width), "{width}: {columns}: {line}");
        }
    }

    #[test]
    fn sizes() {
        let table = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1 << 20, "1.0 MiB"),
            (30_932_992, "29.5 MiB"),
            (1 << 40, "1.0 TiB"),
            (u64::MAX, "16777216.0 TiB"),
        ];
        for (bytes, expected) in table {
            assert_eq!(Size(bytes).to_string(), expected);
        }
    }

    #[test]
    fn durations() {
        assert_eq!(Seconds(Duration::from_millis(1234)).to_string(), "1.2 s");
        assert_eq!(Seconds(Duration::from_secs(61)).to_string(), "1 min 1 s");
        assert_eq!(
            Seconds(Duration::from_secs(86_399)).to_string(),
            "23 h 59 min"
        );
    }

    #[test]
    fn digests_are_cut() {
        let digest: Digest = "a+b:xyz".parse().expect("a digest of an unknown algorithm");
        assert_eq!(short(&digest), "a+b:xyz");
        let digest = Digest::of(windlass_core::Algorithm::Sha256, b"");
        assert_eq!(short(&digest), "sha256:e3b0c44298fc");
    }
}
