//! Tiles through a cell's function, two at a time.

use super::{Array, Cell};
use crate::kernel::sum::{Group, MOST};
use crate::real::Real;
use crate::simd::{Lanes, Pair, Simd};

/// The function of every tile of a group; where `VALUES`, [`Cell::value`], which precedes it. Tiles of the run go by pairs:
/// what is done to a [`Pair`] is done to both by turns, so that neither waits for itself.
#[inline(always)]
pub(crate) fn activate<C: Cell, T: Real, S: Simd<T>, R: Group, const VALUES: bool>(
    s: S,
    tiles: &mut [C::Slots<Lanes<T, S>>; MOST],
    states: &mut [C::States<Lanes<T, S>>; MOST],
    own: &[C::Parameters<Lanes<T, S>>; MOST],
) {
    let mut t = 0;
    // Numbers by themselves gain nothing by turns: what runs them does one after another.
    while S::LANES > 1 && t + 2 <= R::RUN {
        let mut slots: C::Slots<Lanes<T, Pair<S>>> = paired(s, &tiles[t], &tiles[t + 1]);
        let mut state: C::States<Lanes<T, Pair<S>>> = paired(s, &states[t], &states[t + 1]);
        let p: C::Parameters<Lanes<T, Pair<S>>> = paired(s, &own[t], &own[t + 1]);
        apply::<C, T, Pair<S>, VALUES>(&mut slots, &mut state, &p);
        for i in 0..2 {
            half(s, i, &slots, &mut tiles[t + i]);
            half(s, i, &state, &mut states[t + i]);
        }
        t += 2;
    }
    macro_rules! alone {
        ($($t:literal)*) => {
            $(if const { $t < R::COUNT && (S::LANES == 1 || $t >= R::RUN / 2 * 2) } {
                apply::<C, T, S, VALUES>(&mut tiles[$t], &mut states[$t], &own[$t]);
            })*
        };
    }
    // Not a loop: places that are known are registers.
    alone!(0 1 2 3 4);
}

#[inline(always)]
fn apply<C: Cell, T: Real, S: Simd<T>, const VALUES: bool>(
    slots: &mut C::Slots<Lanes<T, S>>,
    states: &mut C::States<Lanes<T, S>>,
    own: &C::Parameters<Lanes<T, S>>,
) {
    if VALUES {
        C::value(slots, states, own);
    } else {
        C::forward(slots, states, own);
        C::finish(slots, states);
    }
}

/// Vectors of two tiles, in pairs.
#[inline(always)]
fn paired<T: Real, S: Simd<T>, A: Array<Lanes<T, S>>, B: Array<Lanes<T, Pair<S>>>>(
    s: S,
    a: &A,
    b: &A,
) -> B {
    let two = Pair(s);
    let mut pairs = B::filled(Lanes::new(two, two.zero()));
    for (pair, (a, b)) in pairs.as_mut().iter_mut().zip(a.as_ref().iter().zip(b.as_ref())) {
        *pair = Lanes::new(two, [a.v, b.v]);
    }
    pairs
}

/// The vectors of one of the two.
#[inline(always)]
fn half<T: Real, S: Simd<T>, A: Array<Lanes<T, S>>, B: Array<Lanes<T, Pair<S>>>>(
    s: S,
    which: usize,
    pairs: &B,
    to: &mut A,
) {
    for (pair, to) in pairs.as_ref().iter().zip(to.as_mut()) {
        *to = Lanes::new(s, pair.v[which]);
    }
}
