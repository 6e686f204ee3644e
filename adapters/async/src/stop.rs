//! The signal that tells a job to end.
//!
//! Responsible for waiting for it. Must not know jobs, nor who ends them.

use tokio::sync::watch;

/// Tells a job to end.
pub(crate) type Stop = watch::Receiver<bool>;

/// Returns when the job is to end.
pub(crate) async fn stopped(stop: &mut Stop) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        // Nothing is left that could stop it.
        std::future::pending::<()>().await;
    }
}
