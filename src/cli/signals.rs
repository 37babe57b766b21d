//! Ctrl-C and SIGTERM ask a command to end; a second one ends it at once, which
//! is always safe.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The status of a process that ended at a second signal, as shells have it.
const INTERRUPTED: i32 = 130;

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
