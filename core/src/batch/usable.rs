//! The processors that the calling thread may use. They are asked for and never set: where threads run is the
//! business of whoever runs the program.

use core::cell::Cell;

/// What the calling thread may use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Usable {
    /// Which processors: threads it starts inherit them.
    pub places: Places,
    /// How many of them are worth using: fewer where a container has a quota of time.
    pub count: usize,
}

impl Usable {
    /// Asked at every call, for a thread may be pinned at any time.
    pub fn here() -> Usable {
        // A quota is read from files, which takes as long as a small batch: only where the processors are others.
        std::thread_local! { static LAST: Cell<Option<Usable>> = const { Cell::new(None) } }
        let places = Places::here();
        if let Some(last) = LAST.get()
            && last.places == places
        {
            return last;
        }
        let now = Usable { places, count: available() };
        LAST.set(Some(now));
        now
    }
}

fn available() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(target_os = "linux")]
pub use linux::Places;
#[cfg(not(target_os = "linux"))]
pub use other::Places;

#[cfg(target_os = "linux")]
mod linux {
    use rustix::thread::{CpuSet, sched_getaffinity};

    /// A set of processors; none where the system does not tell.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub struct Places(Option<CpuSet>);

    impl Places {
        pub fn here() -> Self {
            Places(sched_getaffinity(None).ok())
        }

        /// How many they are.
        pub fn count(&self) -> usize {
            self.0.map_or_else(super::available, |set| set.count() as usize)
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    /// How many processors there are: all that other systems tell.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub struct Places(usize);

    impl Places {
        pub fn here() -> Self {
            Places(super::available())
        }

        /// How many they are.
        pub fn count(&self) -> usize {
            self.0
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::Usable;
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    #[test]
    fn a_thread_may_be_pinned_at_any_time() {
        let of_the_test = sched_getaffinity(None).unwrap();
        std::thread::spawn(move || {
            let all = Usable::here();
            for processor in (0..CpuSet::MAX_CPU).filter(|&i| of_the_test.is_set(i)) {
                let mut one = CpuSet::new();
                one.set(processor);
                sched_setaffinity(None, &one).unwrap();
                let now = Usable::here();
                assert_eq!((now.places.count(), now.count), (1, 1));
                assert!(sched_getaffinity(None).unwrap() == one);
            }
            sched_setaffinity(None, &of_the_test).unwrap();
            assert!(Usable::here() == all);
        })
        .join()
        .unwrap();
        assert!(sched_getaffinity(None).unwrap() == of_the_test);
    }
}
