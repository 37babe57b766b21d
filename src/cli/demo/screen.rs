//! The terminal while the live table is on it, and what is logged meanwhile:
//! a line of a log would tear the table, so it waits until the table is gone.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::Level;

/// Another screen, no cursor, no wrapping; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// What a terminal that does not tell is taken for.
const USUAL_SIZE: (usize, usize) = (80, 24);

/// Writes that are held back at most: the last ones tell best what went wrong.
const HELD_WRITES: usize = 50;

/// The terminal, on a screen of its own until this is dropped.
pub(super) struct Screen {
    terminal: io::Stdout,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// When it cannot be written to.
    pub(super) fn enter() -> io::Result<Self> {
        // Made first: what was half written is taken back too.
        let mut screen = Self { terminal: io::stdout() };
        screen.write(ENTER)?;
        Ok(screen)
    }

    /// Writes at once, so that no half of a drawing is seen.
    ///
    /// # Errors
    /// When the terminal cannot be written to.
    pub(super) fn write(&mut self, text: &str) -> io::Result<()> {
        self.terminal.write_all(text.as_bytes())?;
        self.terminal.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = self.write(LEAVE);
    }
}

/// Columns and lines of the terminal, as they are now.
pub(super) fn size() -> (usize, usize) {
    terminal_size::terminal_size()
        .map_or(USUAL_SIZE, |(width, height)| (usize::from(width.0), usize::from(height.0)))
}

/// Warnings, held back while the table is shown.
#[derive(Debug, Clone, Default)]
pub(super) struct HeldLog(Arc<Mutex<VecDeque<Vec<u8>>>>);

impl HeldLog {
    /// Logs warnings and errors: to standard error, or held back where `live`.
    pub(super) fn start(live: bool) -> Self {
        let held = Self::default();
        let builder =
            tracing_subscriber::fmt().with_max_level(Level::WARN).with_target(false).with_ansi(false);
        // That something logs already is fine.
        let _ = if live {
            let writer = held.clone();
            builder.with_writer(move || writer.clone()).try_init()
        } else {
            builder.with_writer(io::stderr).try_init()
        };
        held
    }

    /// Writes what was held back to standard error, and forgets it.
    pub(super) fn release(&self) {
        for text in self.writes().drain(..) {
            // There is nobody to tell when even this fails.
            let _ = io::stderr().write_all(&text);
        }
    }

    /// A panic elsewhere leaves whole writes.
    fn writes(&self) -> MutexGuard<'_, VecDeque<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for HeldLog {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let mut writes = self.writes();
        writes.push_back(text.to_vec());
        if writes.len() > HELD_WRITES {
            writes.pop_front();
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_writes_are_held() {
        let mut held = HeldLog::default();
        for number in 0..HELD_WRITES + 2 {
            held.write_all(number.to_string().as_bytes()).unwrap();
        }
        assert_eq!(held.writes().len(), HELD_WRITES);
        assert_eq!(held.writes().front().unwrap(), b"2");
    }
}
