//! Ctrl-C and SIGTERM ask a command to end; a second one ends it at once, which
//! is always safe.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The status of a process that ended at a second signal, as shells have it.
const INTERRUPTED: i32 = 130;

/// The status of a process that did not end in time by itself.
const OVERDUE: i32 = 1;

/// Ends the process once it has been asked to end for `timeout` and still runs:
/// it hangs in a call of a client that nobody can end. What is not committed is
/// read again at the next start.
///
/// # Errors
/// When the system gives no thread.
pub(super) fn end_within(stop: &Arc<AtomicBool>, timeout: Duration) -> io::Result<()> {
    const LOOK_EVERY: Duration = Duration::from_millis(50);
    let flag = Arc::clone(stop);
    std::thread::Builder::new().name("deadline".to_owned()).spawn(move || {
        while !flag.load(Ordering::Relaxed) {
            std::thread::sleep(LOOK_EVERY);
        }
        std::thread::sleep(timeout);
        tracing::error!(
            "could not end in order within {:.1} s; what was not committed is read again at the next start",
            timeout.as_secs_f64()
        );
        std::process::exit(OVERDUE);
    })?;
    Ok(())
}

/// Watches on a thread of its own; the flag is set by the first signal.
///
/// # Errors
/// When the system gives no thread or no signals.
pub(super) fn watch() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async move {
            use tokio::signal::unix::{SignalKind, signal};
            let signals = signal(SignalKind::interrupt()).and_then(|interrupt| {
                signal(SignalKind::terminate()).map(|terminate| (interrupt, terminate))
            });
            let (mut interrupt, mut terminate) = match signals {
                Ok(signals) => {
                    let _ = ready.send(Ok(()));
                    signals
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                    return;
                }
            };
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if flag.swap(true, Ordering::Relaxed) {
                    std::process::exit(INTERRUPTED);
                }
            }
        });
    })?;
    is_ready.recv().map_err(io::Error::other)??;
    Ok(stop)
}
