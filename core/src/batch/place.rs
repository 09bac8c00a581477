//! Keeps a pool's threads off the processor of the thread that calls them.
//!
//! Linux often puts a thread that is woken on the processor of the one that wakes it, behind it, though others idle;
//! it moves on when queues are balanced, milliseconds later: longer than most calls take.

#[cfg(target_os = "linux")]
pub use linux::Places;
#[cfg(not(target_os = "linux"))]
pub use other::Places;

#[cfg(target_os = "linux")]
mod linux {
    use alloc::vec::Vec;
    use core::sync::atomic::{AtomicUsize, Ordering};
    use rustix::thread::{Pid, gettid, sched_getaffinity, sched_getcpu, sched_setaffinity};
    use std::sync::{Mutex, PoisonError, TryLockError};

    /// The threads of a pool, and the processor they keep off.
    #[derive(Default)]
    pub struct Places {
        threads: Mutex<Vec<Pid>>,
        /// One more than the processor's number; 0: none, or not all threads have been told.
        off: AtomicUsize,
        called: Mutex<()>,
    }

    impl Places {
        /// To be called by a thread of the pool when it starts.
        pub fn enter(&self) {
            self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(gettid());
            self.off.store(0, Ordering::Relaxed);
        }

        /// Does `work` with the pool's threads kept off the calling thread's processor, if there are others
        /// enough it may use. Where two call at once, the first has its way.
        pub fn apart<R>(&self, work: impl FnOnce() -> R) -> R {
            let first = self.called.try_lock();
            if !matches!(first, Err(TryLockError::WouldBlock)) {
                let here = sched_getcpu();
                if self.off.swap(here + 1, Ordering::Relaxed) != here + 1 {
                    self.keep_off(here);
                }
            }
            work()
        }

        /// The processor the threads keep off.
        #[cfg(test)]
        pub fn off(&self) -> Option<usize> {
            self.off.load(Ordering::Relaxed).checked_sub(1)
        }

        /// Where the system does not allow it, threads run where it puts them.
        fn keep_off(&self, processor: usize) {
            let Ok(mut others) = sched_getaffinity(None) else { return };
            others.unset(processor);
            let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
            if others.count() as usize >= threads.len() {
                for &thread in &*threads {
                    let _ = sched_setaffinity(Some(thread), &others);
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    /// Other systems put threads where they please.
    #[derive(Default)]
    pub struct Places;

    impl Places {
        pub fn enter(&self) {}
        pub fn apart<R>(&self, work: impl FnOnce() -> R) -> R {
            work()
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::Places;
    use rustix::thread::{gettid, sched_getaffinity};
    use std::sync::mpsc::channel;

    #[test]
    fn a_pool_keeps_off_the_callers_processor() {
        let mine = sched_getaffinity(None).unwrap();
        let places = Places::default();
        let (started, is_started) = channel();
        let (finish, is_finished) = channel::<()>();
        std::thread::scope(|scope| {
            let places = &places;
            scope.spawn(move || {
                places.enter();
                started.send(gettid()).unwrap();
                let _ = is_finished.recv();
            });
            let thread = is_started.recv().unwrap();
            let before = sched_getaffinity(Some(thread)).unwrap();
            assert_eq!(places.apart(|| 7), 7);
            let after = sched_getaffinity(Some(thread)).unwrap();
            let mut expected = mine;
            if mine.count() > 1 {
                let here = places.off().expect("the caller has run somewhere");
                assert!(before.is_set(here));
                expected.unset(here);
            } else {
                std::eprintln!("one processor only: the thread stays on it");
            }
            assert_eq!(after, expected);
            drop(finish);
        });
        assert_eq!(sched_getaffinity(None).unwrap(), mine, "the caller's own places are its own");
    }
}
