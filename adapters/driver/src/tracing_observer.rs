//! An observer that tells `tracing`.
//!
//! Responsible for levels and fields. What it tells is what every observer is told: text without secrets, and text
//! of servers escaped.

use tracing::{Span, debug, info, trace, warn};
use windlass_core::{Event, TaskId, transcript};

use crate::observer::Observer;

/// Tells `tracing` what happens to a request, within the span in which it was made.
///
/// Results are at the level INFO, warnings, retries and failures at WARN, everything else at DEBUG; the lines of the
/// transcript at TRACE, if that is enabled for the target `windlass` when the request begins.
///
/// ```
/// # fn example<D>(client: &windlass_driver::Client<D>, reference: &windlass_core::Reference) {
/// let observer = std::sync::Arc::new(windlass_driver::TracingObserver::new());
/// let request = client.resolve(reference).observer(observer);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct TracingObserver {
    span: Span,
}

/// Of all events, for filters.
const TARGET: &str = "windlass";

impl TracingObserver {
    /// One that tells of a request within the current span.
    pub fn new() -> Self {
        Self::within(Span::current())
    }

    /// One that tells of a request within this span.
    pub const fn within(span: Span) -> Self {
        Self { span }
    }
}

impl Default for TracingObserver {
    fn default() -> Self {
        Self::new()
    }
}

impl Observer for TracingObserver {
    fn event(&self, task: TaskId, event: &Event) {
        let parent = self.span.id();
        let text = transcript::event(event);
        match event {
            Event::Finished(Ok(_)) => info!(target: TARGET, parent: parent, %task, "{text}"),
            Event::Finished(Err(_))
            | Event::Warning(_)
            | Event::Retrying { .. }
            | Event::Paused { .. } => {
                warn!(target: TARGET, parent: parent, %task, "{text}");
            }
            Event::Resolved(_)
            | Event::Started { .. }
            | Event::Skipped { .. }
            | Event::Served { .. }
            | Event::Stored { .. }
            | _ => debug!(target: TARGET, parent: parent, %task, "{text}"),
        }
    }

    fn trace(&self, line: &str) {
        trace!(target: TARGET, parent: self.span.id(), "{line}");
    }

    fn traces(&self) -> bool {
        tracing::enabled!(target: TARGET, tracing::Level::TRACE)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;
    use std::sync::{Arc, Mutex};

    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Level, Metadata, Subscriber, info_span, subscriber};
    use windlass_core::{Config, Error, Failure, Session, Task};

    use super::*;

    /// Keeps what it is told: level, parent and fields.
    #[derive(Clone, Debug, Default)]
    struct Kept(Arc<Mutex<Vec<String>>>);

    struct Fields(String);

    impl Visit for Fields {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            self.0.push_str(&format!(" {field}={value:?}"));
        }
    }

    impl Subscriber for Kept {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            *metadata.level() <= Level::DEBUG
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(7)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &tracing::Event<'_>) {
            let mut fields = Fields(String::new());
            event.record(&mut fields);
            let metadata = event.metadata();
            let parent = event.parent().map(Id::into_u64);
            let line = format!(
                "{} {} {parent:?}{}",
                metadata.target(),
                metadata.level(),
                fields.0
            );
            self.0.lock().expect("no panic").push(line);
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn events_have_levels_and_a_span() {
        let kept = Kept::default();
        let lines = Arc::clone(&kept.0);
        subscriber::with_default(kept, || {
            let observer = TracingObserver::within(info_span!("push"));
            assert!(!observer.traces(), "it is not enabled");
            let registry = "reg.example".parse().expect("a registry");
            let task = Session::new(Config::default(), 1).start(Task::check(registry));
            observer.event(task, &Event::Warning("old".to_owned()));
            let failure = Failure::new(vec![Error::Cancelled]);
            observer.event(task, &Event::Finished(Err(failure)));
            observer.trace("a line");
        });
        let lines = lines.lock().expect("no panic");
        let [warning, finished] = &lines[..] else {
            panic!("{lines:?}");
        };
        assert!(warning.starts_with("windlass WARN Some(7)"), "{warning}");
        assert!(
            warning.contains("old") && warning.contains("task="),
            "{warning}"
        );
        assert!(finished.contains("cancelled"), "{finished}");
    }
}
