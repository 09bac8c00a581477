//! What lies between the products of a step: the cell's own function, unit by unit, over rows of a batch.

use super::row;
use super::spec::{Cell, Derivatives};
use super::units;
use crate::kernel::layout::Layout;
use crate::kernel::plan::Known;
use crate::kernel::shape::Shape;
use crate::kernel::states::{States, StatesMut};
use crate::real::Real;
use crate::simd::flat::Array;
use crate::simd::{Lanes, Simd};
use core::fmt::Debug;
use core::marker::PhantomData;

/// The elementwise work of a cell, in so many rounds (stages) as there are products between them, and one more.
pub trait Elementwise<T: Real>: Debug + Send + Sync {
    /// The cell that it is, where [`SHORT`](Self::SHORT).
    type Cell: Cell;
    /// Whether steps of a single row are worth a kernel of their own.
    const SHORT: bool;

    /// The layout.
    fn layout(&self) -> &Layout;
    /// Numbers of scratch that rows of so many units need.
    fn scratch(&self, stride: usize) -> usize;
    /// A round forward.
    fn forward<S: Simd<T>>(&self, s: S, work: Forth<'_, T>);
    /// A round back.
    fn backward<S: Simd<T>>(&self, s: S, work: Back<'_, T>);
}

/// A round forward over some rows.
pub struct Forth<'a, T> {
    /// Sizes.
    pub shape: &'a Shape,
    /// Which round, from 0.
    pub stage: usize,
    /// Rows.
    pub rows: usize,
    /// Whether a way back will read the gate buffer.
    pub keep: bool,
    /// The gate buffer.
    pub slots: &'a mut [T],
    /// From the old states to the new, in the last round.
    pub states: StatesMut<'a, T>,
    /// Gets the new h in place of the first state, where that is projected from it.
    pub unprojected: Option<&'a mut [T]>,
    /// The units' own parameters.
    pub parameters: &'a [T],
    /// Scratch.
    pub scratch: &'a mut [T],
}

/// The mirror: a round back over some rows. The last round forward is the first one back.
pub struct Back<'a, T> {
    /// Sizes.
    pub shape: &'a Shape,
    /// Which round of those forward.
    pub stage: usize,
    /// Rows.
    pub rows: usize,
    /// The gate buffer as it was left.
    pub slots: &'a [T],
    /// States before the step.
    pub before: States<'a, T>,
    /// Both of the step whose turn is next.
    pub ahead: Option<(&'a [T], States<'a, T>)>,
    /// From the derivatives by the new states to those by the old.
    pub d_states: StatesMut<'a, T>,
    /// Holds the derivative by the new h in place of the first state, where that is projected from it.
    pub d_unprojected: Option<&'a [T]>,
    /// Gets the derivatives by what is in the gate buffer, and by parameters.
    pub d_slots: &'a mut [T],
    /// The units' own parameters.
    pub parameters: &'a [T],
    /// Scratch.
    pub scratch: &'a mut [T],
}

/// A cell that is a type.
#[derive(Clone, Copy, Debug)]
pub struct Typed<C>(PhantomData<C>);

impl<C> Typed<C> {
    /// It has no values.
    pub const NEW: Self = Typed(PhantomData);
}

impl<C: Cell> Known for Typed<C> {
    const LAYOUT: Layout = Layout::of::<C>();
}

impl<T: Real, C: Cell> Elementwise<T> for Typed<C> {
    type Cell = C;
    const SHORT: bool = {
        assert!(
            !C::SHORT || row::fits(&Layout::of::<C>()),
            "a short cell maps x and h, to 4 slots at most"
        );
        C::SHORT
    };

    #[inline(always)]
    fn layout(&self) -> &Layout {
        &<Self as Known>::LAYOUT
    }
    #[inline(always)]
    fn scratch(&self, _: usize) -> usize {
        0
    }

    #[inline(always)]
    fn forward<S: Simd<T>>(&self, s: S, work: Forth<'_, T>) {
        let Forth { shape, stage, rows, slots, states, mut unprojected, parameters, .. } = work;
        let (n, stride, row) = (shape.stride, shape.stride, shape.row());
        let last = stage + 1 == const { <Self as Known>::LAYOUT.stages() };
        for r in 0..rows {
            let slots = &mut slots[r * row..][..row];
            let at = places::<C>(|state| states.at(shape, state, r));
            units!(S, n, |u, PART| {
                let mut own: C::Slots<Lanes<T, S>> = read::<_, _, _, PART>(s, slots, stride, n, u);
                let mut state: C::States<Lanes<T, S>> =
                    gather::<C, _, _, PART>(s, states.data, &at, n, u);
                let p = read::<_, _, _, PART>(s, parameters, stride, n, u);
                if last {
                    C::forward(&mut own, &mut state, &p);
                } else {
                    C::value(&mut own, &state, &p);
                }
                for (k, own) in own.as_ref().iter().enumerate() {
                    own.write::<PART>(&mut slots[k * stride..][..n], u);
                }
                if last {
                    for (k, state) in state.as_ref().iter().enumerate() {
                        if k > 0 || C::FINISHED.is_none() {
                            let to = match &mut unprojected {
                                Some(m) if k == 0 => &mut m[r * stride..][..n],
                                _ => &mut states.data[at.as_ref()[k]..][..n],
                            };
                            state.write::<PART>(to, u);
                        }
                    }
                }
            });
            let Some(finished) = C::FINISHED.filter(|_| last) else { continue };
            units!(S, n, |u, PART| {
                let mut own: C::Slots<Lanes<T, S>> = read::<_, _, _, PART>(s, slots, stride, n, u);
                let mut state: C::States<Lanes<T, S>> =
                    gather::<C, _, _, PART>(s, states.data, &at, n, u);
                C::finish(&mut own, &mut state);
                for &k in finished {
                    own.as_ref()[k].write::<PART>(&mut slots[k * stride..][..n], u);
                }
                let to = match &mut unprojected {
                    Some(m) => &mut m[r * stride..][..n],
                    None => &mut states.data[at.as_ref()[0]..][..n],
                };
                state.as_ref()[0].write::<PART>(to, u);
            });
        }
    }

    #[inline(always)]
    fn backward<S: Simd<T>>(&self, s: S, work: Back<'_, T>) {
        let Back { shape, stage, rows, slots, before, d_states, d_unprojected, .. } = work;
        let Back { d_slots, parameters, ahead, .. } = work;
        let (n, stride, row) = (shape.stride, shape.stride, shape.row());
        let last = stage + 1 == const { <Self as Known>::LAYOUT.stages() };
        let count = const { C::Slots::<u8>::LEN };
        for r in 0..rows {
            let slots = &slots[r * row..][..row];
            let d_slots = &mut d_slots[r * row..][..row];
            let place = |of: &States<'_, T>, k| {
                shape.state_at(of.rows, k) + (of.first + r) * shape.state_row(k)
            };
            let at_before = places::<C>(|k| place(&before, k));
            if let Some((slots, before)) = ahead.filter(|_| S::PREFETCHES && last) {
                fetch(s, slots.get(r * row..).unwrap_or_default(), count * stride);
                for k in usize::from(!C::READS_H)..const { C::States::<u8>::LEN } {
                    fetch(s, before.data.get(place(&before, k)..).unwrap_or_default(), n);
                }
            }
            let at = places::<C>(|state| d_states.at(shape, state, r));
            units!(S, n, |u, PART| {
                let kept = read::<_, _, _, PART>(s, slots, stride, n, u);
                let state = gather::<C, _, _, PART>(s, before.data, &at_before, n, u);
                let p = read::<_, _, _, PART>(s, parameters, stride, n, u);
                let zero = Lanes::new(s, s.zero());
                let mut d_state = C::States::filled(zero);
                for (k, d) in d_state.as_mut().iter_mut().enumerate() {
                    let from = match d_unprojected {
                        Some(d) if k == 0 => &d[r * stride..][..n],
                        _ => &d_states.data[at.as_ref()[k]..][..n],
                    };
                    *d = Lanes::read::<PART>(s, from, u);
                }
                let zeros = C::Parameters::filled(zero);
                let mut d = Derivatives { slots: C::Slots::filled(zero), parameters: zeros };
                if last {
                    C::backward(&kept, &state, &p, &mut d_state, &mut d);
                } else {
                    d.slots = read::<_, _, _, PART>(s, d_slots, stride, n, u);
                    d.parameters =
                        read::<_, _, _, PART>(s, &d_slots[count * stride..], stride, n, u);
                    C::backward_value(&kept, &state, &p, &mut d_state, &mut d);
                }
                for (k, d) in d.slots.as_ref().iter().chain(d.parameters.as_ref()).enumerate() {
                    d.write::<PART>(&mut d_slots[k * stride..][..n], u);
                }
                for (k, d) in d_state.as_ref().iter().enumerate() {
                    if k > 0 || C::READS_H {
                        d.write::<PART>(&mut d_states.data[at.as_ref()[k]..][..n], u);
                    }
                }
            });
        }
    }
}

/// Has the first `n` numbers fetched into the caches.
#[inline(always)]
fn fetch<T: Real, S: Simd<T>>(s: S, from: &[T], n: usize) {
    for line in from[..n.min(from.len())].chunks(T::PAD) {
        s.prefetch(line);
    }
}

/// Where each state's row begins.
#[inline(always)]
pub(super) fn places<C: Cell>(place: impl Fn(usize) -> usize) -> C::States<usize> {
    let mut places = C::States::filled(0);
    for (k, at) in places.as_mut().iter_mut().enumerate() {
        *at = place(k);
    }
    places
}

/// A vector of units of each of the runs of `n` that stand `stride` apart.
#[inline(always)]
pub(super) fn read<A: Array<Lanes<T, S>>, T: Real, S: Simd<T>, const PART: bool>(
    s: S,
    from: &[T],
    stride: usize,
    n: usize,
    u: usize,
) -> A {
    let mut all = A::filled(Lanes::new(s, s.zero()));
    for (k, own) in all.as_mut().iter_mut().enumerate() {
        *own = Lanes::read::<PART>(s, &from[k * stride..][..n], u);
    }
    all
}

/// A vector of units of each state; of h, zeros where it is not read.
#[inline(always)]
pub(super) fn gather<C: Cell, T: Real, S: Simd<T>, const PART: bool>(
    s: S,
    from: &[T],
    at: &C::States<usize>,
    n: usize,
    u: usize,
) -> C::States<Lanes<T, S>> {
    let mut all = C::States::filled(Lanes::new(s, s.zero()));
    for (k, own) in all.as_mut().iter_mut().enumerate() {
        if k > 0 || C::READS_H {
            *own = Lanes::read::<PART>(s, &from[at.as_ref()[k]..][..n], u);
        }
    }
    all
}
