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
pub fn run<I: Send, R: Send>(
    items: Vec<I>,
    work: usize,
    task: impl Fn(I) -> Result<R, Error> + Sync,
) -> Result<Vec<R>, Error> {
    #[cfg(feature = "rayon")]
    if items.len() > 1 && work >= WORTH_SHARING && threads::get() > 1 {
        return threads::run(items, &task);
    }
    let _ = work;
    items.into_iter().map(task).collect()
}

/// Calls `fill(i, piece)` for every piece of `len` numbers of `out`, in parallel where there are enough.
pub fn fill<T: Send>(out: &mut [T], len: usize, fill: impl Fn(usize, &mut [T]) + Sync) {
    #[cfg(feature = "rayon")]
    if len > 0 && out.len() >= WORTH_SHARING / 8 && threads::get() > 1 {
        let at_once = out.len().div_ceil(len).div_ceil(4 * threads::get());
        let part = |(i, part): (usize, &mut [T])| {
            for (j, piece) in part.chunks_mut(len).enumerate() {
                fill(i * at_once + j, piece);
            }
            Ok(())
        };
        // The tasks return no errors.
        let _ = threads::run(out.chunks_mut(len * at_once).enumerate().collect(), &part);
        return;
    }
    for (i, piece) in out.chunks_mut(len.max(1)).enumerate() {
        fill(i, piece);
    }
}

#[cfg(feature = "rayon")]
mod place;

#[cfg(feature = "rayon")]
pub use threads::{get as num_threads, set as set_num_threads};

#[cfg(feature = "rayon")]
mod threads {
    use super::place::Places;
    use super::{Error, Vec};
    use core::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex, PoisonError};

    /// A pool of its own, so that a host's rayon is not touched, and the process it was made in: after a
    /// fork the child has none of the threads and makes a new one.
    struct Pool {
        process: u32,
        threads: usize,
        shared: Arc<Shared>,
    }
    struct Shared {
        pool: rayon::ThreadPool,
        places: Arc<Places>,
    }
    static POOL: Mutex<Option<Pool>> = Mutex::new(None);
    static THREADS: AtomicUsize = AtomicUsize::new(0);

    /// How many threads work on a batch, the calling one included.
    #[must_use]
    pub fn get() -> usize {
        match THREADS.load(Ordering::Relaxed) {
            0 => {
                let named = std::env::var("UNROLLED_NUM_THREADS").ok().and_then(|n| n.parse().ok());
                let all = || std::thread::available_parallelism().map_or(1, usize::from);
                let n = named.filter(|&n| n > 0).unwrap_or_else(all);
                THREADS.store(n, Ordering::Relaxed);
                n
            }
            n => n,
        }
    }

    /// Sets how many threads work on a batch from now on; 0 goes back to the default: the environment
    /// variable `UNROLLED_NUM_THREADS`, or as many as the machine has. Results do not depend on it.
    ///
    /// On Linux the threads keep off the processor of the one that calls, as long as that one may use others:
    /// woken threads are often put behind it otherwise.
    pub fn set(n: usize) {
        THREADS.store(n, Ordering::Relaxed);
    }

    /// The pool: the threads beside the calling one. None where they cannot be started.
    fn pool() -> Option<Arc<Shared>> {
        let (process, threads) = (std::process::id(), get());
        let mut guard = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(p) = guard.as_ref()
            && p.process == process
            && p.threads == threads
        {
            return Some(p.shared.clone());
        }
        let places = Arc::new(Places::default());
        let entered = places.clone();
        let built = rayon::ThreadPoolBuilder::new()
            .num_threads(threads - 1)
            .thread_name(|i| std::format!("unrolled-{}", i + 1))
            .start_handler(move |_| entered.enter())
            .build();
        let shared = Arc::new(Shared { pool: built.ok()?, places });
        let old = guard.replace(Pool { process, threads, shared: shared.clone() });
        if let Some(old) = old
            && old.process != process
        {
            // Its threads live in the parent only: waiting for them here would never end.
            core::mem::forget(old);
        }
        Some(shared)
    }

    /// The calling thread and the pool's take the tasks one by one.
    pub fn run<I: Send, R: Send>(
        items: Vec<I>,
        task: &(impl Fn(I) -> Result<R, Error> + Sync),
    ) -> Result<Vec<R>, Error> {
        let Some(shared) = pool() else { return items.into_iter().map(task).collect() };
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
        shared.places.apart(|| {
            shared.pool.in_place_scope(|scope| {
                for _ in 1..get().min(count) {
                    scope.spawn(|_| work());
                }
                work();
            });
        });
        let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        results.sort_by_key(|&(i, _)| i);
        results.into_iter().map(|(_, result)| result).collect()
    }
}
