//! Work shared among threads: the only file that knows of rayon.
//!
//! What is shared is cut the same way whatever the number of threads, so that results do not depend on it.

use crate::error::Error;
use alloc::vec::Vec;

/// Asked now and then during long work, on any of the threads that work: whether to stop.
pub type Interrupt<'a> = Option<&'a (dyn Fn() -> bool + Sync)>;

/// The error where work is to stop.
pub(crate) fn poll(interrupt: Interrupt<'_>) -> Result<(), Error> {
    if interrupt.is_some_and(|stop| stop()) { Err(Error::Interrupted) } else { Ok(()) }
}

/// Multiply-adds below which starting threads costs more than it saves.
#[cfg(feature = "rayon")]
const WORTH_SHARING: usize = 2_000_000;

/// Does `task` for every one of `items`, in parallel where `work` (multiply-adds in all) is worth it,
/// and gives the results in order, or the first error.
pub(crate) fn run<I: Send, R: Send>(
    items: Vec<I>,
    work: usize,
    task: impl Fn(I) -> Result<R, Error> + Sync,
) -> Result<Vec<R>, Error> {
    #[cfg(feature = "rayon")]
    if items.len() > 1 && work >= WORTH_SHARING {
        let crew = threads::Crew::here();
        if crew.threads > 1 {
            return crew.run(items, &task);
        }
    }
    let _ = work;
    items.into_iter().map(task).collect()
}

/// Calls `fill(i, piece)` for every piece of `len` numbers of `out`, in parallel where there are enough.
pub(crate) fn fill<T: Send>(out: &mut [T], len: usize, fill: impl Fn(usize, &mut [T]) + Sync) {
    #[cfg(feature = "rayon")]
    if len > 0 && out.len() >= WORTH_SHARING / 8 {
        let crew = threads::Crew::here();
        if crew.threads > 1 {
            let at_once = out.len().div_ceil(len).div_ceil(4 * crew.threads);
            let part = |(i, part): (usize, &mut [T])| {
                for (j, piece) in part.chunks_mut(len).enumerate() {
                    fill(i * at_once + j, piece);
                }
                Ok(())
            };
            // The tasks return no errors.
            let _ = crew.run(out.chunks_mut(len * at_once).enumerate().collect(), &part);
            return;
        }
    }
    for (i, piece) in out.chunks_mut(len.max(1)).enumerate() {
        fill(i, piece);
    }
}

#[cfg(feature = "rayon")]
mod usable;

#[cfg(feature = "rayon")]
pub use threads::{get as num_threads, set as set_num_threads};

#[cfg(feature = "rayon")]
mod threads {
    use super::usable::{Places, Usable};
    use super::{Error, Vec};
    use core::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex, PoisonError};

    /// A pool of its own, so that a host's rayon is not touched, and the process it was made in: after a
    /// fork the child has none of the threads and makes a new one.
    struct Pool {
        process: u32,
        threads: usize,
        places: Places,
        pool: Arc<rayon::ThreadPool>,
    }
    static POOL: Mutex<Option<Pool>> = Mutex::new(None);

    /// What [`set`] or the environment asks for.
    static ASKED: AtomicUsize = AtomicUsize::new(UNSAID);
    /// Nobody has looked into the environment yet.
    const UNSAID: usize = 0;
    /// Nothing is asked for.
    const DEFAULT: usize = usize::MAX;
    /// More are not taken from the environment: starting them would fail, or take minutes.
    const MOST: usize = 1024;

    /// The number asked for, if one is.
    fn asked() -> Option<usize> {
        let n = match ASKED.load(Ordering::Relaxed) {
            UNSAID => {
                let named = std::env::var("UNROLLED_NUM_THREADS").ok().and_then(|n| n.parse().ok());
                let n = named.filter(|n| (1..=MOST).contains(n)).unwrap_or(DEFAULT);
                ASKED.store(n, Ordering::Relaxed);
                n
            }
            n => n,
        };
        (n != DEFAULT).then_some(n)
    }

    /// How many threads may work on a batch, the calling one included.
    #[must_use]
    pub fn get() -> usize {
        asked().unwrap_or_else(|| Usable::here().count)
    }

    /// Sets how many threads may work on a batch from now on; 0 goes back to the default: the environment
    /// variable `UNROLLED_NUM_THREADS` (1 to 1024), or as many as the calling thread has processors to use, which
    /// is asked at every call. Results do not depend on it.
    ///
    /// There are never more than the processors the calling thread is allowed, so that one alone wakes no others.
    /// Threads run where the calling thread may run; where they are put there is left to the system.
    pub fn set(n: usize) {
        ASKED.store(n, Ordering::Relaxed);
    }

    /// The threads that would work on a batch now.
    pub struct Crew {
        /// How many, the calling one included.
        pub threads: usize,
        places: Places,
    }

    impl Crew {
        pub fn here() -> Self {
            let Usable { places, count } = Usable::here();
            Crew { threads: asked().map_or(count, |n| n.min(places.count())), places }
        }

        /// The threads beside the calling one. None where they cannot be started.
        fn pool(&self) -> Option<Arc<rayon::ThreadPool>> {
            let process = std::process::id();
            let mut guard = POOL.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(p) = guard.as_ref()
                && (p.process, p.threads, p.places) == (process, self.threads, self.places)
            {
                return Some(p.pool.clone());
            }
            let built = rayon::ThreadPoolBuilder::new()
                .num_threads(self.threads - 1)
                .thread_name(|i| std::format!("unrolled-{}", i + 1))
                .build();
            let pool = Arc::new(built.ok()?);
            let Crew { threads, places } = *self;
            let old = guard.replace(Pool { process, threads, places, pool: pool.clone() });
            if let Some(old) = old
                && old.process != process
            {
                // Its threads live in the parent only: waiting for them here would never end.
                core::mem::forget(old);
            }
            Some(pool)
        }

        /// The calling thread and the pool's take the tasks one by one.
        pub fn run<I: Send, R: Send>(
            &self,
            items: Vec<I>,
            task: &(impl Fn(I) -> Result<R, Error> + Sync),
        ) -> Result<Vec<R>, Error> {
            let Some(pool) = self.pool() else { return items.into_iter().map(task).collect() };
            let count = items.len();
            let items = Mutex::new(items.into_iter().enumerate());
            let results = Mutex::new(Vec::new());
            let next = || items.lock().unwrap_or_else(PoisonError::into_inner).next();
            let work = || {
                while let Some((i, item)) = next() {
                    let result = task(item);
                    if result.is_err() {
                        // The others are not begun.
                        while next().is_some() {}
                    }
                    results.lock().unwrap_or_else(PoisonError::into_inner).push((i, result));
                }
            };
            pool.in_place_scope(|scope| {
                for _ in 1..self.threads.min(count) {
                    scope.spawn(|_| work());
                }
                work();
            });
            let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
            results.sort_by_key(|&(i, _)| i);
            results.into_iter().map(|(_, result)| result).collect()
        }
    }
}
