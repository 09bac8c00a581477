//! What many threads use, and some replace.

use pyo3::prelude::*;
use std::sync::{Arc, Mutex, PoisonError};

/// A value that is replaced and never changed: who works with it works with what it was when they began.
///
/// Its lock is held for as long as it takes to copy a pointer, and only by who has the interpreter's. So nobody
/// waits for it, nothing of Python's runs under it, and a fork, which needs the interpreter's lock too, never
/// finds it locked.
pub struct Shared<N>(Mutex<Arc<N>>);

impl<N> Shared<N> {
    pub fn new(value: N) -> Self {
        Shared(Mutex::new(Arc::new(value)))
    }

    /// The value as it is now.
    pub fn get(&self, _: Python<'_>) -> Arc<N> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another that stays as this one is now.
    pub fn snapshot(&self, py: Python<'_>) -> Self {
        Shared(Mutex::new(self.get(py)))
    }

    pub fn set(&self, _: Python<'_>, value: Arc<N>) {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *guard, value);
        drop(guard);
        // Which may take long, if nobody else has it.
        drop(old);
    }

    /// Whether it still is `value`, and not another one however alike.
    pub fn is(&self, py: Python<'_>, value: &Arc<N>) -> bool {
        Arc::ptr_eq(&self.get(py), value)
    }

    /// Changes the value where it is if nobody works with it, and else a `copy`. `change` either fails or is done,
    /// in no time.
    pub fn change<R, E>(
        &self,
        _: Python<'_>,
        copy: impl FnOnce(&N) -> Result<N, E>,
        change: impl FnOnce(&mut N) -> Result<R, E>,
    ) -> Result<R, E> {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = Arc::get_mut(&mut guard) {
            return change(value);
        }
        let mut value = copy(&guard)?;
        let result = change(&mut value)?;
        *guard = Arc::new(value);
        Ok(result)
    }
}
