//! Ctrl-C, SIGTERM and SIGHUP: the first cancels the task, the second ends the process.
//!
//! ```text
//!  first signal ─┬─▶ thread: cancel, then print a note (may block on standard error)
//!                └─▶ here: a second signal, or the end of GRACE ─▶ exit
//! ```
//!
//! Responsible for an end within a second, even if other threads are blocked. So the thread that
//! receives signals never prints, takes no lock that is held while printing, and does not rely on
//! the task to stop.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
#[cfg(unix)]
use std::time::{Duration, Instant};

use windlass_config::credentials::end_helpers;

use crate::client::CancelHandle;
use crate::exit::Exit;
use crate::printer::Printer;

/// How long the task may take to stop by itself, so that the process ends within a second. It takes
/// longer only if it is blocked by a disk or by a reader of its output; the store survives being
/// killed at any time.
#[cfg(unix)]
const GRACE: Duration = Duration::from_millis(900);

/// How often to look for a second signal.
#[cfg(unix)]
const SLICE: Duration = Duration::from_millis(10);

/// Makes a write beyond the file size limit (`ulimit -f`) fail like on a full disk. Otherwise its
/// signal would end the process without a message.
#[cfg(unix)]
pub(crate) fn survive_file_size_limit() {
    use signal_hook::consts::SIGXFSZ;

    // A handler is enough to make the write fail. If it cannot be set, the signal keeps its effect.
    let _flag = signal_hook::flag::register(SIGXFSZ, Arc::default());
}

#[cfg(not(unix))]
pub(crate) const fn survive_file_size_limit() {}

/// Whether, and by which signal, the user interrupted the command.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    first: OnceLock<Exit>,
    /// The thread that cancels the task and prints the note.
    stopping: Mutex<Option<JoinHandle<()>>>,
    /// Removed if the process ends without unwinding.
    temporary: Mutex<Option<PathBuf>>,
}

impl Interrupt {
    /// The exit code for the first signal. Waits for the note, so that later output follows it.
    pub(crate) fn asked(&self) -> Option<Exit> {
        let stopping = lock(&self.shared.stopping).take();
        if let Some(stopping) = stopping {
            // A panic there was printed, and nothing depends on the note.
            let _said = stopping.join();
        }
        self.shared.first.get().copied()
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.shared.first.get().is_some()
    }

    /// Registers a folder that must not outlive the process. Its owner removes it unless the
    /// process is ended by a signal.
    pub(crate) fn owns(&self, folder: PathBuf) {
        *lock(&self.shared.temporary) = Some(folder);
    }

    /// Handles signals from now on. Until then they end the process at once.
    #[cfg(unix)]
    pub(crate) fn watch(&self, cancel: CancelHandle, printer: Arc<Printer>) -> std::io::Result<()> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

        let mut watched = vec![SIGINT, SIGTERM];
        watched.extend((!is_hangup_ignored()).then_some(SIGHUP));
        let mut signals = signal_hook::iterator::Signals::new(watched)?;
        let this = self.clone();
        let watch = move || {
            let Some(signal) = signals.forever().next() else {
                return;
            };
            let first = exit_for(signal);
            this.stop(first, cancel, printer);
            let until = Instant::now() + GRACE;
            while Instant::now() < until {
                if let Some(signal) = signals.pending().next() {
                    this.leave(exit_for(signal));
                }
                thread::sleep(SLICE);
            }
            this.leave(first);
        };
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(watch)
            .map(drop)
    }

    /// Without signals an interrupted process just ends; the store survives that.
    #[cfg(not(unix))]
    pub(crate) fn watch(&self, _: CancelHandle, _: Arc<Printer>) -> std::io::Result<()> {
        Ok(())
    }

    /// Cancels the task, on a thread of its own.
    #[cfg(unix)]
    fn stop(&self, exit: Exit, cancel: CancelHandle, printer: Arc<Printer>) {
        let mut stopping = lock(&self.shared.stopping);
        // Set only here, by the first signal.
        let _new = self.shared.first.set(exit);
        let stop = move || {
            cancel.cancel();
            // Otherwise the task would wait for them.
            end_helpers();
            printer.note("stopping; received data is kept for the next run");
        };
        // Without a thread, GRACE passes and the process ends.
        *stopping = thread::Builder::new().spawn(stop).ok();
    }

    #[cfg(unix)]
    fn leave(&self, exit: Exit) -> ! {
        if let Some(folder) = lock(&self.shared.temporary).take() {
            // Other threads may still be writing there: remove what can be removed now.
            let _left_over = std::fs::remove_dir_all(folder);
        }
        end_helpers();
        // Not `std::process::exit`, which would flush standard output.
        signal_hook::low_level::exit(exit.code().into())
    }
}

#[cfg(unix)]
const fn exit_for(signal: i32) -> Exit {
    match signal {
        signal_hook::consts::SIGTERM => Exit::Terminated,
        signal_hook::consts::SIGHUP => Exit::HungUp,
        _ => Exit::Interrupted,
    }
}

/// Whether SIGHUP was ignored when the process began, as under `nohup`. If the system does not say,
/// assume so: then the signal is not handled.
#[cfg(unix)]
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignored(&status).is_none_or(|signals| signals & 1 != 0)
}

/// The mask of ignored signals; its lowest bit is SIGHUP.
#[cfg(unix)]
fn ignored(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|it| it.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No state is left inconsistent under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read() {
        let table = [
            ("Name:\tx\nSigIgn:\t0000000000000001\nSigCgt:\t0\n", Some(1)),
            ("SigIgn:\t0000000000001000\n", Some(0x1000)),
            ("SigIgn:\tx\n", None),
            ("SigCgt:\t1\n", None),
            ("", None),
        ];
        for (status, expected) in table {
            assert_eq!(ignored(status), expected, "{status:?}");
        }
    }
}
