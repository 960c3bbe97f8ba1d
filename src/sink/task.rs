//! What the tasks of sinks that hold a connection have in common.

use std::future::{Future, pending};

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use crate::lane::ExitOnPanic;

/// Runs a sink's task until it ends, or the lane's half is dropped.
pub fn spawn(runtime: &Handle, task: impl Future<Output = ()> + Send + 'static, gone: oneshot::Receiver<()>) {
    runtime.spawn(async move {
        // The lane would wait for outcomes for ever.
        let _guard = ExitOnPanic;
        tokio::select! {
            () = task => {}
            // The lane is gone: its deadline has passed, and nobody wants an outcome.
            _ = gone => {}
        }
    });
}

/// Never, where there is nothing to wait for.
pub async fn maybe<F: Future + Unpin>(running: &mut Option<F>) -> F::Output {
    match running {
        Some(running) => running.await,
        None => pending().await,
    }
}

/// Never, where there is no deadline.
pub async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}
