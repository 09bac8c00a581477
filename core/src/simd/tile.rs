//! The one inner loop of every product in the crate.
//!
//! acc\[r\]\[v\] += Σ_k lhs(r, k) · rhs(k, v): a few rows, a few vectors, all kept in
//! registers while k runs. Each step loads the vectors of k once, broadcasts one value per
//! row, and multiplies them. What `lhs` and `rhs` are is a matter of strides:
//!
//! | product | lhs(r, k) | rhs(k, v) |
//! |---|---|---|
//! | W x_t, W h_{t−1} | input k of row r | packed weights of input k, lanes = hidden units |
//! | Wᵀ δ | δ of gate and unit k, row r | packed transposed weights, lanes = inputs |
//! | δ xᵀ (weight gradients) | input r of row k | δ of row k, lanes = hidden units |
//!
//! The order of summation is part of the results (they must not depend on the batch or the
//! instruction set), so it is a function of the sizes alone: k ascending, in `CHAINS` runs
//! that are added pairwise at the end. More than one run serves short products, whose
//! multiply-adds would wait for one another. Lanes and rows never meet in a sum.

use super::Simd;
use super::weight::{Full, Weight};
use crate::real::Real;
use core::hint::black_box;

/// Where the left operand's values lie: value k = (segment, step) of row r is
/// `data[r * row + segment * self.segment + step * self.step]`.
#[derive(Clone, Copy)]
pub struct Lhs<'a, T> {
    /// The values.
    pub data: &'a [T],
    /// From a row to the next.
    pub row: usize,
    /// From a step to the next.
    pub step: usize,
    /// From a segment to the next.
    pub segment: usize,
}

/// Where the right operand's vectors lie: the vector of step k (counted through all segments),
/// tile and gate starts at `data[k * step + tile * self.tile + gate * self.gate]`.
#[derive(Clone, Copy)]
pub struct Rhs<'a, T> {
    /// The values.
    pub data: &'a [T],
    /// From a step to the next.
    pub step: usize,
    /// From a tile to the next.
    pub tile: usize,
    /// From a gate to the next.
    pub gate: usize,
}

/// How long k is: `segments` runs of `steps`.
#[derive(Clone, Copy)]
pub struct Extent {
    /// Runs, which the left operand may hold apart from one another.
    pub segments: usize,
    /// Steps in each.
    pub steps: usize,
}

/// Accumulators: rows × tiles × gates.
pub type Tile<V, const ROWS: usize, const TILES: usize, const GATES: usize> =
    [[[V; GATES]; TILES]; ROWS];

/// The index after the last element that strides of `(stride, count)` reach with `width`
/// elements there. The counts are 1 or more, and below the greatest `usize` together: then no sum wraps, whatever the
/// strides.
#[inline(always)]
fn end(strides: [(usize, usize); 3], width: usize) -> u128 {
    let mut end = width as u128;
    for (stride, count) in strides {
        end += stride as u128 * (count - 1) as u128;
    }
    end
}

#[cold]
#[inline(never)]
fn out_of_bounds() -> ! {
    panic!("a tile reaches past its operands");
}

/// Adds the product to `acc`. With `PART`, only the first `width` lanes of each vector of
/// `rhs` are read. Panics where the strides reach outside `lhs.data` or `rhs.data`.
#[inline(always)]
pub fn accumulate<
    T: Real,
    S: Simd<T>,
    const ROWS: usize,
    const TILES: usize,
    const GATES: usize,
    const CHAINS: usize,
    const PART: bool,
>(
    s: S,
    acc: Tile<S::V, ROWS, TILES, GATES>,
    lhs: Lhs<'_, T>,
    rhs: Rhs<'_, T>,
    extent: Extent,
    width: usize,
) -> Tile<S::V, ROWS, TILES, GATES> {
    let scales = [[s.zero(); GATES]; TILES];
    accumulate_stored::<T, Full, S, ROWS, TILES, GATES, CHAINS, PART>(
        s, acc, lhs, rhs, scales, extent, width,
    )
}

/// The same of weights as they are stored: `scales` of each of their columns.
#[inline(always)]
pub(crate) fn accumulate_stored<
    T: Real,
    W: Weight<T>,
    S: Simd<T>,
    const ROWS: usize,
    const TILES: usize,
    const GATES: usize,
    const CHAINS: usize,
    const PART: bool,
>(
    s: S,
    acc: Tile<S::V, ROWS, TILES, GATES>,
    lhs: Lhs<'_, T>,
    rhs: Rhs<'_, W::Stored>,
    scales: [[S::V; GATES]; TILES],
    extent: Extent,
    width: usize,
) -> Tile<S::V, ROWS, TILES, GATES> {
    let Extent { segments, steps } = extent;
    if ROWS == 0 || TILES == 0 || GATES == 0 || segments == 0 || steps == 0 {
        return acc;
    }
    let width = if PART { width.min(S::LANES) } else { S::LANES };
    // So that `end` can count on it: half of that at most, to which the tile's own counts, whose vectors are in memory, add little.
    let k = segments.checked_mul(steps).filter(|&k| k <= isize::MAX as usize);
    let Some(k) = k else { out_of_bounds() };
    let left = end([(lhs.row, ROWS), (lhs.segment, segments), (lhs.step, steps)], 1);
    let right = end([(rhs.step, k), (rhs.tile, TILES), (rhs.gate, GATES)], width);
    if left > lhs.data.len() as u128 || right > rhs.data.len() as u128 {
        out_of_bounds();
    }

    let right = Right { tile: rhs.tile, gate: rhs.gate, scales, width };
    let mut chains = [[[[s.zero(); GATES]; TILES]; ROWS]; CHAINS];
    chains[0] = acc;
    let run = steps / CHAINS;
    // Where segment n begins, on either side.
    macro_rules! begin {
        ($segment:expr) => {
            // SAFETY: `left` and `right` are the largest sums of the offsets added here and in `add`, which only
            // grow with segment and k, and lie within the two slices.
            unsafe {
                (
                    lhs.data.as_ptr().add($segment * lhs.segment),
                    rhs.data.as_ptr().add($segment * steps * rhs.step),
                )
            }
        };
    }
    macro_rules! add {
        ($chain:expr, $a:ident, $w:ident, $k:expr) => {{
            let k = $k;
            // SAFETY: k < steps, so the reads lie before `left` and `right`.
            unsafe {
                let (a, w) = ($a.add(k * lhs.step), $w.add(k * rhs.step));
                step::<T, W, S, ROWS, TILES, GATES, PART>(s, $chain, a, w, lhs.row, &right);
            }
        }};
    }
    if const { S::LANES > 1 && (CHAINS == 1 || ROWS == 1) } {
        for segment in 0..segments {
            let (a, w) = begin!(segment);
            for k in 0..run {
                for (c, chain) in chains.iter_mut().enumerate() {
                    add!(chain, a, w, c * run + k);
                }
            }
            for k in CHAINS * run..steps {
                add!(&mut chains[0], a, w, k);
            }
        }
    } else {
        // Several rows keep the units busy with the sums of one run, and one run after another leaves the registers to
        // them. A processor without vectors does one thing after another: there runs are better apart as well, each with
        // few sums, and four steps at a time reach as far as its loads do. The compiler would write all of them out.
        let by_four = S::LANES == 1 && ROWS * TILES * GATES <= 8 && run > 4;
        let fours = if by_four { black_box(run / 4) } else { 0 };
        for (c, chain) in chains.iter_mut().enumerate() {
            let mut sums = *chain;
            for segment in 0..segments {
                let (a, w) = begin!(segment);
                let mut done = c * run;
                for _ in 0..fours {
                    for i in 0..4 {
                        add!(&mut sums, a, w, done + i);
                    }
                    done += 4;
                }
                let done = if by_four { run / 4 * 4 } else { 0 };
                for k in c * run + done..(c + 1) * run {
                    add!(&mut sums, a, w, k);
                }
                if c == 0 {
                    for k in CHAINS * run..steps {
                        add!(&mut sums, a, w, k);
                    }
                }
            }
            *chain = sums;
        }
    }

    let mut apart = 1;
    while apart < CHAINS {
        for c in (0..CHAINS).step_by(2 * apart) {
            for r in 0..ROWS {
                for t in 0..TILES {
                    for g in 0..GATES {
                        chains[c][r][t][g] = s.add(chains[c][r][t][g], chains[c + apart][r][t][g]);
                    }
                }
            }
        }
        apart *= 2;
    }
    chains[0]
}

/// How the right operand's vectors of one k lie, and what they are multiplied by.
#[derive(Clone, Copy)]
struct Right<V, const TILES: usize, const GATES: usize> {
    tile: usize,
    gate: usize,
    width: usize,
    scales: [[V; GATES]; TILES],
}

/// One k: `a` points at its value of row 0, `w` at its first vector.
///
/// # Safety
/// For every r < `ROWS`, t < `TILES` and g < `GATES`, `a` must be valid for a read at r · `row`, and `w` for
/// [`vector`]'s.
#[inline(always)]
unsafe fn step<
    T: Real,
    W: Weight<T>,
    S: Simd<T>,
    const ROWS: usize,
    const TILES: usize,
    const GATES: usize,
    const PART: bool,
>(
    s: S,
    acc: &mut Tile<S::V, ROWS, TILES, GATES>,
    a: *const T,
    w: *const W::Stored,
    row: usize,
    right: &Right<S::V, TILES, GATES>,
) {
    // Whichever there are fewer of is kept in registers, the others pass through one by one.
    if ROWS <= TILES * GATES {
        let mut x = [s.zero(); ROWS];
        for r in 0..ROWS {
            // SAFETY: r < ROWS.
            x[r] = s.splat(unsafe { *a.add(r * row) });
        }
        for t in 0..TILES {
            for g in 0..GATES {
                // SAFETY: t < TILES and g < GATES.
                let v = unsafe { vector::<T, W, S, TILES, GATES, PART>(s, w, right, t, g) };
                for r in 0..ROWS {
                    acc[r][t][g] = s.mul_add(v, x[r], acc[r][t][g]);
                }
            }
        }
    } else {
        let mut v = [[s.zero(); GATES]; TILES];
        for t in 0..TILES {
            for g in 0..GATES {
                // SAFETY: t < TILES and g < GATES.
                v[t][g] = unsafe { vector::<T, W, S, TILES, GATES, PART>(s, w, right, t, g) };
            }
        }
        for r in 0..ROWS {
            // SAFETY: r < ROWS.
            let x = s.splat(unsafe { *a.add(r * row) });
            for t in 0..TILES {
                for g in 0..GATES {
                    acc[r][t][g] = s.mul_add(v[t][g], x, acc[r][t][g]);
                }
            }
        }
    }
}

/// One vector of the right operand.
///
/// # Safety
/// `w` must be valid for reads of `LANES` numbers, of `right.width` where `PART`, at t · `right.tile` + g · `right.gate`.
#[inline(always)]
unsafe fn vector<
    T: Real,
    W: Weight<T>,
    S: Simd<T>,
    const TILES: usize,
    const GATES: usize,
    const PART: bool,
>(
    s: S,
    w: *const W::Stored,
    right: &Right<S::V, TILES, GATES>,
    t: usize,
    g: usize,
) -> S::V {
    // SAFETY: as many numbers may be read there, which is what is asked for.
    let numbers =
        unsafe { W::load_ptr::<S, PART>(s, w.add(t * right.tile + g * right.gate), right.width) };
    W::scaled(s, numbers, right.scales[t][g])
}
