//! Where the time of a pass goes, part by part: a watch that the drivers of the kernels look at between parts.
//!
//! A lap reads the processor's clock on a thread that is watched, and elsewhere a number. It asks no operating system, so
//! that a real-time thread may pass by. The parts of a single short row's step run into one another in registers: such
//! steps are one part.

/// A part of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What is none of the others: memory asked for and given back, bookkeeping.
    Rest,
    /// Copies of inputs, outputs, states and derivatives.
    Copies,
    /// W_ih x + b, for the rows of many steps at once.
    Input,
    /// W_hh h, maps of values, the projection.
    State,
    /// Activations, states.
    Cell,
    /// Whole steps of a single short row, forward or back.
    Steps,
    /// Derivatives by the pre-activations and the states, unit by unit.
    DerivativeCell,
    /// Derivatives by h: W_hhᵀ δ, and by what is projected.
    DerivativeState,
    /// Derivatives by x: W_ihᵀ δ.
    DerivativeInput,
    /// Gradients of weights and biases: Σ δ xᵀ, Σ δ hᵀ, Σ δ.
    Gradients,
    /// Weights into the order in which kernels read them, gradients out of it.
    Packing,
}

impl Part {
    /// All, in the order in which they are declared.
    pub const ALL: [Part; 11] = [
        Part::Rest,
        Part::Copies,
        Part::Input,
        Part::State,
        Part::Cell,
        Part::Steps,
        Part::DerivativeCell,
        Part::DerivativeState,
        Part::DerivativeInput,
        Part::Gradients,
        Part::Packing,
    ];

    /// In a few words, in the letters of the documents.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Part::Rest => "rest",
            Part::Copies => "copies",
            Part::Input => "W_ih x",
            Part::State => "W_hh h",
            Part::Cell => "activations",
            Part::Steps => "whole steps",
            Part::DerivativeCell => "d_gates",
            Part::DerivativeState => "d_h",
            Part::DerivativeInput => "d_x",
            Part::Gradients => "dW",
            Part::Packing => "packing",
        }
    }
}

/// The time since the last lap of this thread went to that part.
#[cfg(not(feature = "std"))]
#[inline(always)]
pub(crate) fn lap(_: Part) {}

#[cfg(feature = "std")]
pub(crate) use watch::lap;
#[cfg(feature = "std")]
pub use watch::measure;

#[cfg(feature = "std")]
mod watch {
    use super::Part;
    use crate::simd::ticks;
    use core::cell::Cell;
    use core::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    /// Ticks of each part, and when the last lap was.
    type Laps = ([u64; Part::ALL.len()], u64);

    /// Threads that are watched: for others the look at this is all there is.
    static WATCHED: AtomicUsize = AtomicUsize::new(0);
    std::thread_local! {
        static LAPS: Cell<Option<Laps>> = const { Cell::new(None) };
    }

    #[inline(always)]
    pub(crate) fn lap(part: Part) {
        if WATCHED.load(Ordering::Relaxed) > 0 {
            take(part);
        }
    }

    #[cold]
    #[inline(never)]
    fn take(part: Part) {
        LAPS.with(|laps| {
            if let Some((mut parts, last)) = laps.get() {
                let now = ticks();
                parts[part as usize] += now.saturating_sub(last);
                laps.set(Some((parts, now)));
            }
        });
    }

    /// Ends the watch, also where the work panics.
    struct Watch(Option<Laps>);

    impl Drop for Watch {
        fn drop(&mut self) {
            WATCHED.fetch_sub(1, Ordering::Relaxed);
            LAPS.set(self.0);
        }
    }

    /// Does `work`, and gives the time that each part of it took on this thread, in the order of [`Part::ALL`].
    /// Other threads' is not in it: for the whole, let [one thread](crate::batch::set_num_threads) do all.
    pub fn measure<R>(work: impl FnOnce() -> R) -> (R, [Duration; Part::ALL.len()]) {
        let watch = Watch(LAPS.get());
        WATCHED.fetch_add(1, Ordering::Relaxed);
        let start = (Instant::now(), ticks());
        LAPS.set(Some(([0; _], start.1)));
        let done = work();
        take(Part::Rest);
        let (parts, end) = LAPS.get().unwrap_or(([0; _], start.1));
        // How long a tick is, the work tells.
        let tick = start.0.elapsed().as_secs_f64() / end.saturating_sub(start.1).max(1) as f64;
        drop(watch);
        (done, parts.map(|ticks| Duration::from_secs_f64(ticks as f64 * tick)))
    }

    /// Whether no thread is watched, and this one has nothing left of a watch.
    #[cfg(test)]
    pub(super) fn is_over() -> bool {
        WATCHED.load(Ordering::Relaxed) == 0 && LAPS.get().is_none()
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::Part;
    use super::watch::{is_over, lap, measure};
    use std::panic::catch_unwind;
    use std::sync::{Mutex, MutexGuard, PoisonError};
    use std::thread::{sleep, spawn};
    use std::time::{Duration, Instant};

    const SHORT: Duration = Duration::from_millis(2);
    const LONG: Duration = Duration::from_millis(7);

    /// Threads that are watched are counted in one number: a test at a time.
    fn alone() -> MutexGuard<'static, ()> {
        static ALONE: Mutex<()> = Mutex::new(());
        ALONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A part that takes that long at least.
    fn work(part: Part, time: Duration) {
        sleep(time);
        lap(part);
    }

    #[test]
    fn a_lap_outside_is_nothing() {
        let _alone = alone();
        work(Part::Cell, SHORT);
        assert!(is_over());
        let ((), parts) = measure(|| {
            // Nor is one of another thread, while this one is watched.
            assert!(spawn(|| lap(Part::Cell)).join().is_ok());
        });
        assert_eq!(parts[Part::Cell as usize], Duration::ZERO);
        assert!(is_over());
    }

    #[test]
    fn time_goes_to_the_part_that_took_it() {
        let _alone = alone();
        let start = Instant::now();
        let (done, parts) = measure(|| {
            work(Part::Input, SHORT);
            work(Part::State, LONG);
            work(Part::Input, SHORT);
            sleep(SHORT);
            "done"
        });
        let whole = start.elapsed();
        assert_eq!(done, "done");
        for (part, &time) in Part::ALL.iter().zip(&parts) {
            let least = match part {
                Part::Input => 2 * SHORT,
                Part::State => LONG,
                Part::Rest => SHORT,
                _ => {
                    assert_eq!(time, Duration::ZERO, "{part:?}");
                    continue;
                }
            };
            assert!(time >= least, "{part:?}: {time:?}");
        }
        // Nothing is counted twice, so with the above none has what is another's.
        assert!(parts.iter().sum::<Duration>() <= whole);
        assert!(is_over());
    }

    #[test]
    fn a_watch_within_a_watch_is_a_part_of_it() {
        let _alone = alone();
        let (inner, outer) = measure(|| {
            work(Part::Copies, SHORT);
            let ((), inner) = measure(|| work(Part::State, LONG));
            lap(Part::Copies);
            inner
        });
        assert!(inner[Part::State as usize] >= LONG);
        assert_eq!(inner[Part::Copies as usize], Duration::ZERO);
        assert!(outer[Part::Copies as usize] >= SHORT + LONG);
        assert_eq!(outer[Part::State as usize], Duration::ZERO);
        assert!(is_over());
    }

    #[test]
    fn a_panic_ends_the_watch() {
        let _alone = alone();
        assert!(catch_unwind(|| measure(|| panic!("as it should"))).is_err());
        assert!(is_over());
        let ((), outer) = measure(|| {
            assert!(catch_unwind(|| measure(|| panic!("as it should"))).is_err());
            work(Part::Gradients, SHORT);
        });
        assert!(outer[Part::Gradients as usize] >= SHORT);
        assert!(is_over());
    }
}
