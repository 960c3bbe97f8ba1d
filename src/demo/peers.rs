//! The embedded receivers on a thread of their own, which also hears Ctrl-C.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use super::Options;
use super::receivers::{BulkReceiver, SyslogReceiver};
use super::screen::Screen;
use super::summary::Outcome;
use super::traffic::Written;
use crate::telemetry::LaneSnapshot;

/// Exit code of a demo that was interrupted twice.
const INTERRUPTED: i32 = 130;

#[derive(Debug)]
pub(super) struct Peers {
    pub bulk: Option<BulkReceiver>,
    pub syslog: Option<SyslogReceiver>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Peers {
    /// `interrupted` is set by Ctrl-C and SIGTERM; without it, signals are left alone.
    pub(super) fn start(options: &Options, interrupted: Option<Arc<AtomicBool>>) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let bulk = match options.elasticsearch {
            None => Some(runtime.block_on(BulkReceiver::start())?),
            Some(_) => None,
        };
        let syslog = match options.siem {
            None => Some(runtime.block_on(SyslogReceiver::start())?),
            Some(_) => None,
        };
        let (stop, stopped) = oneshot::channel();
        let serve = move || serve(&runtime, stopped, interrupted);
        let thread = thread::Builder::new().name("demo-peers".to_owned()).spawn(serve)?;
        Ok(Self { bulk, syslog, stop: Some(stop), thread: Some(thread) })
    }

    pub(super) fn outcome(&self, written: Written, lanes: Vec<LaneSnapshot>) -> Outcome {
        Outcome {
            written,
            lanes,
            bulk: self.bulk.as_ref().map(|bulk| (bulk.seen(), bulk.ids())),
            syslog: self.syslog.as_ref().map(|syslog| (syslog.seen(), syslog.ids())),
        }
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the receivers was printed where it happened.
            let _ = thread.join();
        }
    }
}

/// Serves until told to stop. The first signal ends the demo with its summary, the second at once.
fn serve(runtime: &Runtime, mut stopped: oneshot::Receiver<()>, interrupted: Option<Arc<AtomicBool>>) {
    runtime.block_on(async {
        let Some(interrupted) = interrupted else {
            let _ = stopped.await;
            return;
        };
        loop {
            tokio::select! {
                _ = &mut stopped => return,
                () = signal() => {
                    if interrupted.swap(true, Ordering::Relaxed) {
                        Screen::stdout().restore();
                        std::process::exit(INTERRUPTED);
                    }
                }
            }
        }
    });
}

/// Ctrl-C or SIGTERM. Where no handler can be set, none ever comes.
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        _ => std::future::pending().await,
    }
}
