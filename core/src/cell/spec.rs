//! What a cell is: which affine maps feed which slots, and an elementwise function forward beside its mirror.

use crate::kernel::layout::{Layout, MOST_MAPS, Slot};
use crate::real::Real;
use crate::simd::flat::Array;
use crate::simd::{Lanes, Simd};
use core::fmt::Debug;

/// A recurrent cell, for one vector of hidden units: all that is special about it.
///
/// At each step *slots* are filled with affine maps of x and of h, W_x x + b_x + W_h h + b_h. [`forward`](Self::forward)
/// makes the new *states* out of them, of which the first, h, is the output; [`backward`](Self::backward) is its mirror.
/// Products, batches, time, back-propagation, truncation, streams and fixed sizes follow.
///
/// A cell is a type without values. The five arrays say how many there are of each thing, `SLOTS` what feeds each slot.
pub trait Cell: Copy + Debug + Send + Sync + 'static {
    /// One for each slot.
    type Slots<A: Copy>: Array<A>;
    /// One for each state, h first.
    type States<A: Copy>: Array<A>;
    /// One for each map of x: the row blocks of `weight_ih`.
    type MapsOfX<A: Copy>: Array<A>;
    /// One for each map of h, or of a computed value: the row blocks of `weight_hh`.
    type MapsOfH<A: Copy>: Array<A>;
    /// One for each parameter a unit has for itself: the blocks of `weight_p`.
    type Parameters<A: Copy>: Array<A>;

    /// What feeds each slot, in the order that [`Layout`](super::Layout) tells.
    const SLOTS: &'static [Slot];
    /// Whether `forward` or [`value`](Self::value) reads h itself, and not only through its maps. Where it says no, they
    /// are given zeros.
    const READS_H: bool = true;
    /// Whether run-time nets of few units are compiled for their size too, for sequences of a single row: faster there, and
    /// more to compile. Such a cell maps nothing but x and h, each to four slots at most.
    const SHORT: bool = false;

    /// Whether [`finish`](Self::finish) has anything to do, and if so which slots it changes.
    const FINISHED: Option<&'static [usize]> = None;

    /// From pre-activations to what `backward` will want to see in the slots; from the old states to the new. Values that
    /// maps act on stay as they are. Where there is a `finish`, it makes h.
    fn forward<T: Real, S: Simd<T>>(
        slots: &mut Self::Slots<Lanes<T, S>>,
        states: &mut Self::States<Lanes<T, S>>,
        parameters: &Self::Parameters<Lanes<T, S>>,
    );

    /// What is left to do where an activation waits for another: a processor looks only so many instructions ahead, and
    /// would have nothing else to do meanwhile. So all units of a row go through `forward` first and then through this.
    #[inline(always)]
    fn finish<T: Real, S: Simd<T>>(
        slots: &mut Self::Slots<Lanes<T, S>>,
        states: &mut Self::States<Lanes<T, S>>,
    ) {
        let _ = (slots, states);
    }

    /// The mirror of both. `kept` are the slots as they left them, `before` the states before the step. `d_states` goes from
    /// the derivatives by the new states to those by the old ones, without what passes through maps; `d.slots` and
    /// `d.parameters`, zeros at first, get those by the pre-activations and by the parameters.
    fn backward<T: Real, S: Simd<T>>(
        kept: &Self::Slots<Lanes<T, S>>,
        before: &Self::States<Lanes<T, S>>,
        parameters: &Self::Parameters<Lanes<T, S>>,
        d_states: &mut Self::States<Lanes<T, S>>,
        d: &mut Derivatives<Self, T, S>,
    );

    /// What comes before `forward` where a map acts on a computed value: fills the slots that hold such values
    /// ([`Slot::value`]). Their products are added to the slots that they feed, and then `forward` runs.
    #[inline(always)]
    fn value<T: Real, S: Simd<T>>(
        slots: &mut Self::Slots<Lanes<T, S>>,
        states: &Self::States<Lanes<T, S>>,
        parameters: &Self::Parameters<Lanes<T, S>>,
    ) {
        let _ = (slots, states, parameters);
    }

    /// The mirror of [`value`](Self::value), after `backward`: the slots of values in `d.slots` hold the derivatives by
    /// them; everything else is added to.
    #[inline(always)]
    fn backward_value<T: Real, S: Simd<T>>(
        kept: &Self::Slots<Lanes<T, S>>,
        before: &Self::States<Lanes<T, S>>,
        parameters: &Self::Parameters<Lanes<T, S>>,
        d_states: &mut Self::States<Lanes<T, S>>,
        d: &mut Derivatives<Self, T, S>,
    ) {
        let _ = (kept, before, parameters, d_states, d);
    }
}

/// Derivatives that a step gives away.
#[derive(Clone, Copy)]
pub struct Derivatives<C: Cell, T: Real, S: Simd<T>> {
    /// By the pre-activations.
    pub slots: C::Slots<Lanes<T, S>>,
    /// By the parameters of the units.
    pub parameters: C::Parameters<Lanes<T, S>>,
}

impl Layout {
    /// That of a cell. What does not fit together does not compile.
    #[must_use]
    pub const fn of<C: Cell>() -> Self {
        assert!(C::SLOTS.len() == C::Slots::<u8>::LEN, "SLOTS has as many slots as Slots");
        let states = C::States::<u8>::LEN;
        let blocks = [C::MapsOfX::<u8>::LEN, C::MapsOfH::<u8>::LEN, C::Parameters::<u8>::LEN];
        let layout = Self::new(C::SLOTS, &[0; MOST_MAPS], states, blocks, C::READS_H);
        layout.with_planes(C::SLOTS.len())
    }
}
