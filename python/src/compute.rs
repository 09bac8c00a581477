//! Calls into the crate: the interpreter's lock let go, Ctrl-C heard, errors turned into exceptions.

use pyo3::exceptions::{PyKeyboardInterrupt, PyMemoryError, PyValueError};
use pyo3::prelude::*;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};
use unrolled::batch::Interrupt;
use unrolled::error::Error;

/// How often to take the interpreter's lock and ask it for signals: rarely enough to cost nothing, often
/// enough for a hand on the keyboard.
const POLL: Duration = Duration::from_millis(50);

/// The exception for an error.
pub fn exception(error: Error) -> PyErr {
    match error {
        Error::TooLarge { .. } => PyMemoryError::new_err(error.to_string()),
        Error::Interrupted => PyKeyboardInterrupt::new_err(()),
        _ => PyValueError::new_err(error.to_string()),
    }
}

/// Whether a signal handler has raised an exception. Only the thread that called asks the interpreter; the
/// others see what it found.
struct Signals {
    caller: ThreadId,
    start: Instant,
    /// When to ask again, in milliseconds from the start.
    next: AtomicU64,
    stop: AtomicBool,
    raised: Mutex<Option<PyErr>>,
}

impl Signals {
    fn new() -> Self {
        Signals {
            caller: std::thread::current().id(),
            start: Instant::now(),
            next: AtomicU64::new(POLL.as_millis() as u64),
            stop: AtomicBool::new(false),
            raised: Mutex::new(None),
        }
    }

    fn stop(&self) -> bool {
        if self.stop.load(Ordering::Relaxed) {
            return true;
        }
        let now = self.start.elapsed();
        if (now.as_millis() as u64) < self.next.load(Ordering::Relaxed)
            || std::thread::current().id() != self.caller
        {
            return false;
        }
        self.next.store((now + POLL).as_millis() as u64, Ordering::Relaxed);
        // None: the interpreter is being shut down, and has no signals to tell of.
        let Some(Err(raised)) = Python::try_attach(|py| py.check_signals()) else { return false };
        *self.raised.lock().unwrap_or_else(PoisonError::into_inner) = Some(raised);
        self.stop.store(true, Ordering::Relaxed);
        true
    }
}

/// Multiply-adds from which work lasts longer (some 10 µs) than it takes to let go of the interpreter's lock and
/// to get it back, by enough that other threads gain from it.
const WORTH_DETACHING: usize = 100_000;

/// Whether so many multiply-adds are done sooner than that.
pub fn is_brief(multiply_adds: usize) -> bool {
    multiply_adds < WORTH_DETACHING
}

/// Multiply-adds below which work is done long before the first [`POLL`] would be due.
const WORTH_POLLING: usize = 10_000_000;

/// Does `work`, which takes so many multiply-adds: without the interpreter's lock unless it is over in no time, and
/// asking the [`Interrupt`] it gets now and then if it is long. Signal handlers run then, and may do anything:
/// `work` must hold no lock.
pub fn interruptible<R: Send>(
    py: Python<'_>,
    multiply_adds: usize,
    work: impl Send + FnOnce(Interrupt<'_>) -> Result<R, Error>,
) -> PyResult<R> {
    if multiply_adds < WORTH_POLLING {
        return unlocked(py, multiply_adds, || work(None));
    }
    let signals = Signals::new();
    let result = py.detach(|| work(Some(&|| signals.stop())));
    let raised = signals.raised.into_inner().unwrap_or_else(PoisonError::into_inner);
    // Also where the handler raised as the work was ending: the exception must not be lost.
    match raised {
        Some(raised) => Err(raised),
        None => result.map_err(exception),
    }
}

/// As [`interruptible`], for work that needs no interrupting.
pub fn unlocked<R: Send>(
    py: Python<'_>,
    multiply_adds: usize,
    work: impl Send + FnOnce() -> Result<R, Error>,
) -> PyResult<R> {
    if is_brief(multiply_adds) { work().map_err(exception) } else { detached(py, work) }
}

/// Does `work` without the interpreter's lock.
pub fn detached<R: Send>(
    py: Python<'_>,
    work: impl Send + FnOnce() -> Result<R, Error>,
) -> PyResult<R> {
    py.detach(work).map_err(exception)
}
