//! Ctrl-C and SIGTERM: the first asks the work to stop, the second ends the process.

use std::sync::Arc;
use std::sync::OnceLock;

use crate::client::Cancel;
use crate::exit::Exit;
use crate::printer::Printer;

/// Tells whether, and how, people asked for an end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt {
    first: Arc<OnceLock<Exit>>,
}

impl Interrupt {
    /// The exit that was asked for.
    pub(crate) fn asked(&self) -> Option<Exit> {
        self.first.get().copied()
    }

    /// Watches for signals from now on. Before, they end the process at once, as usual.
    #[cfg(unix)]
    pub(crate) fn watch(&self, cancel: Cancel, printer: Arc<Printer>) -> std::io::Result<()> {
        use signal_hook::consts::{SIGINT, SIGTERM};

        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
        let this = self.clone();
        let watch = move || {
            for signal in signals.forever() {
                let exit = if signal == SIGTERM {
                    Exit::Terminated
                } else {
                    Exit::Interrupted
                };
                if this.first.set(exit).is_err() {
                    leave(exit);
                }
                printer.note("stopping; what has arrived is kept for the next run");
                cancel.cancel();
            }
        };
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(watch)
            .map(drop)
    }

    /// Where there are no signals, an interrupted process just ends; the store survives that.
    #[cfg(not(unix))]
    pub(crate) fn watch(&self, _: Cancel, _: Arc<Printer>) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(unix)]
#[expect(
    clippy::exit,
    reason = "the second signal means now; the store survives being killed at any instant"
)]
fn leave(exit: Exit) -> ! {
    std::process::exit(exit.code().into())
}

#[cfg(all(test, unix))]
mod tests {
    use std::time::{Duration, Instant};

    use signal_hook::consts::SIGTERM;

    use super::*;
    use crate::printer::{Chatter, Form};

    #[test]
    fn the_first_signal_asks_for_an_end() {
        let interrupt = Interrupt::default();
        let cancel = Cancel::default();
        let printer = Arc::new(Printer::new(Chatter::Quiet, Form::Text));
        interrupt
            .watch(cancel.clone(), printer)
            .expect("signals can be watched");
        assert_eq!(interrupt.asked(), None);

        signal_hook::low_level::raise(SIGTERM).expect("a signal can be raised");
        let begun = Instant::now();
        while !cancel.is_cancelled() {
            assert!(begun.elapsed() < Duration::from_secs(10), "never cancelled");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(interrupt.asked(), Some(Exit::Terminated));
    }
}
