//! Ctrl-C, SIGTERM and SIGHUP: the first asks the work to stop, the second ends the process.
//!
//! ```text
//!  first signal ─┬─▶ thread: cancel, then say so (may wait for whoever reads standard error)
//!                └─▶ here: a second signal, or the end of the grace ─▶ exit
//! ```
//!
//! Responsible for an end within a second, whatever other threads wait for. So the thread that
//! hears signals never prints, never takes a lock that somebody who prints may hold, and does not
//! rely on the work to stop.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
#[cfg(unix)]
use std::time::{Duration, Instant};

use crate::client::CancelHandle;
use crate::exit::Exit;
use crate::printer::Printer;

/// How long the work has to stop by itself, so that all ends within a second. It takes longer only
/// if it waits for a disk, or for somebody who does not read what is printed; the store survives
/// being killed at any instant.
#[cfg(unix)]
const GRACE: Duration = Duration::from_millis(900);

/// How often a second signal is looked for: people do not notice this.
#[cfg(unix)]
const SLICE: Duration = Duration::from_millis(10);

/// Lets a write beyond the limit on file sizes (`ulimit -f`) fail, as on a full disk. Otherwise its signal
/// ends the process without a word.
#[cfg(unix)]
pub(crate) fn survive_file_size_limit() {
    use signal_hook::consts::SIGXFSZ;

    // A signal that is caught is enough: the write fails. Without it, it is as it was.
    let _flag = signal_hook::flag::register(SIGXFSZ, Arc::default());
}

#[cfg(not(unix))]
pub(crate) const fn survive_file_size_limit() {}

/// Tells whether, and how, people asked for an end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    first: OnceLock<Exit>,
    /// Cancels the work and says so.
    stopping: Mutex<Option<JoinHandle<()>>>,
    /// Removed if the process ends without unwinding.
    temporary: Mutex<Option<PathBuf>>,
}

impl Interrupt {
    /// The exit that was asked for. Waits until that was said: what is printed next comes after it.
    pub(crate) fn asked(&self) -> Option<Exit> {
        let stopping = lock(&self.shared.stopping).take();
        if let Some(stopping) = stopping {
            // A panic there was printed, and nothing depends on the message.
            let _said = stopping.join();
        }
        self.shared.first.get().copied()
    }

    /// Whether an end was asked for.
    pub(crate) fn is_asked(&self) -> bool {
        self.shared.first.get().is_some()
    }

    /// A folder that must not outlive the process. Its owner removes it, except on a hasty exit.
    pub(crate) fn owns(&self, folder: PathBuf) {
        *lock(&self.shared.temporary) = Some(folder);
    }

    /// Watches for signals from now on. Before, they end the process at once, as usual.
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

    /// Where there are no signals, an interrupted process just ends; the store survives that.
    #[cfg(not(unix))]
    pub(crate) fn watch(&self, _: CancelHandle, _: Arc<Printer>) -> std::io::Result<()> {
        Ok(())
    }

    /// Asks the work to stop, on a thread of its own.
    #[cfg(unix)]
    fn stop(&self, exit: Exit, cancel: CancelHandle, printer: Arc<Printer>) {
        let mut stopping = lock(&self.shared.stopping);
        // Only ever set here, by the first signal.
        let _new = self.shared.first.set(exit);
        let stop = move || {
            cancel.cancel();
            printer.note("stopping; what has arrived is kept for the next run");
        };
        // Without a thread the grace just passes.
        *stopping = thread::Builder::new().spawn(stop).ok();
    }

    #[cfg(unix)]
    fn leave(&self, exit: Exit) -> ! {
        if let Some(folder) = lock(&self.shared.temporary).take() {
            // Others may still be writing there: as much as can be done at once.
            let _left_over = std::fs::remove_dir_all(folder);
        }
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

/// Whether SIGHUP was ignored when the process began, as under `nohup`. Where the system does not say,
/// it counts as ignored: the signal then keeps the effect it has.
#[cfg(unix)]
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignored(&status).is_none_or(|signals| signals & 1 != 0)
}

/// The ignored signals, a bit for each, the first for SIGHUP.
#[cfg(unix)]
fn ignored(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|it| it.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is ever half done under these locks.
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
