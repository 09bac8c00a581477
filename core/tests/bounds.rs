//! Sizes that no memory holds: wherever they are given they end in an error, and in a panic where the caller of a kernel
//! counts wrong; never in memory that is not ours.
#![cfg(feature = "alloc")]

use proptest::prelude::*;
use std::panic::catch_unwind;
use unrolled::internals::{Extent, Lhs, Product, Rhs, Start, Strides, accumulate};
use unrolled::simd::{Element, Kernel, Level, Simd};

/// What lies before and behind an overflow, and small numbers.
fn any_size() -> impl Strategy<Value = usize> {
    let half = usize::MAX / 2;
    let odd = prop::sample::select(vec![
        half,
        half + 1,
        half + 2,
        usize::MAX,
        usize::MAX - 1,
        usize::MAX / 3 + 1,
        1 << (usize::BITS / 2),
        (1 << (usize::BITS / 2)) + 1,
        (half / 8) + 1,
    ]);
    prop_oneof![3 => 0_usize..9, 1 => odd, 1 => any::<usize>()]
}

const ROWS: usize = 4;
const TILES: usize = 2;
const GATES: usize = 3;

/// What a tile is given.
#[derive(Clone, Copy, Debug)]
struct Case {
    row: usize,
    step: usize,
    segment: usize,
    right: [usize; 3],
    extent: [usize; 2],
    lens: [usize; 2],
    width: usize,
}

impl Case {
    /// Whether all that strides of `(stride, count)` reach, `width` values each, is among `len`.
    fn fits(strides: [(usize, usize); 3], width: usize, len: usize) -> bool {
        let last = strides.iter().try_fold(0_usize, |at, &(stride, count)| {
            at.checked_add(stride.checked_mul(count - 1)?)
        });
        last.and_then(|at| at.checked_add(width)).is_some_and(|end| end <= len)
    }

    /// Whether all is there that a tile reads; none where that is nothing.
    fn is_within(&self, lanes: usize, part: bool) -> Option<bool> {
        let [segments, steps] = self.extent;
        if segments == 0 || steps == 0 {
            return None;
        }
        let Some(k) = segments.checked_mul(steps) else { return Some(false) };
        let width = if part { self.width.min(lanes) } else { lanes };
        let left = [(self.row, ROWS), (self.segment, segments), (self.step, steps)];
        let [step, tile, gate] = self.right;
        let right = [(step, k), (tile, TILES), (gate, GATES)];
        let within = Self::fits(left, 1, self.lens[0]) && Self::fits(right, width, self.lens[1]);
        Some(within)
    }
}

/// Gives one lane of a tile's sums: the last row's, of the last tile and gate.
struct Last<'a, const PART: bool> {
    case: Case,
    left: &'a [f32],
    right: &'a [f32],
}

impl<const PART: bool> Kernel<f32> for Last<'_, PART> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd<f32>>(self, s: S) -> f32 {
        let Case { row, step, segment, right: [r_step, tile, gate], extent, width, .. } = self.case;
        let sums = accumulate::<f32, S, ROWS, TILES, GATES, 2, PART>(
            s,
            [[[s.zero(); GATES]; TILES]; ROWS],
            Lhs { data: self.left, row, step, segment },
            Rhs { data: self.right, step: r_step, tile, gate },
            Extent { segments: extent[0], steps: extent[1] },
            width,
        );
        let mut first = [0.0_f32];
        s.store_partial(&mut first, sums[ROWS - 1][TILES - 1][GATES - 1]);
        first[0]
    }
}

fn check<const PART: bool>(level: Level, case: Case) -> Result<(), TestCaseError> {
    let within = case.is_within(level.lanes::<f32>(), PART);
    let [segments, steps] = case.extent;
    // With strides of 0 a tile may sum for ever.
    if within == Some(true) && segments.saturating_mul(steps) > 10_000 {
        return Ok(());
    }
    // Small integers: sums are exact in any order.
    let numbers = |len: usize| (0..len).map(|i| (i % 5) as f32).collect::<Vec<_>>();
    let (left, right) = (numbers(case.lens[0]), numbers(case.lens[1]));
    let got =
        catch_unwind(|| f32::dispatch(level, Last::<PART> { case, left: &left, right: &right }));
    match within {
        None => prop_assert_eq!(got.ok(), Some(0.0)),
        Some(false) => prop_assert!(got.is_err(), "{:?} reads what is not there", case),
        Some(true) => {
            let mut expected = 0.0;
            for k in (0..segments * steps).filter(|_| !PART || case.width > 0) {
                let (segment, step) = (k / steps, k % steps);
                let at = (ROWS - 1) * case.row + segment * case.segment + step * case.step;
                let [r_step, tile, gate] = case.right;
                let of = k * r_step + (TILES - 1) * tile + (GATES - 1) * gate;
                expected += left[at] * right[of];
            }
            prop_assert_eq!(got.ok(), Some(expected));
        }
    }
    Ok(())
}

fn cases() -> impl Strategy<Value = Case> {
    let strides = [any_size(), any_size(), any_size()];
    let right = [any_size(), any_size(), any_size()];
    let lens = [0_usize..60, 0_usize..200];
    (strides, right, [any_size(), any_size()], lens, any_size()).prop_map(
        |([row, step, segment], right, extent, lens, width)| Case {
            row,
            step,
            segment,
            right,
            extent,
            lens,
            width,
        },
    )
}

fn silently<R>(work: impl FnOnce() -> R) -> R {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = work();
    std::panic::set_hook(before);
    result
}

#[test]
fn a_tile_reads_within_its_operands_whatever_the_strides() {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 4000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let outcome = silently(|| {
        runner.run(&cases(), |case| {
            for level in Level::available() {
                check::<false>(level, case)?;
                check::<true>(level, case)?;
            }
            Ok(())
        })
    });
    outcome.unwrap();
    // Four rows of one step each, so far apart that the end is 2¹²⁸, which once was 0.
    let most = usize::MAX;
    let case = Case {
        row: most,
        step: 0,
        segment: most,
        right: [0; 3],
        extent: [most, 1],
        lens: [60, 200],
        width: 0,
    };
    silently(|| check::<true>(Level::best(), case)).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever stands in the fields of a product, it reads and writes its slices or panics.
    #[test]
    fn a_product_panics_rather_than_leave_its_slices(
        rows in 0_usize..12, units in 0_usize..70, chains in 0_usize..6, turn in any::<bool>(),
        left in [any_size(), any_size(), any_size()], right in [any_size(), any_size(), any_size()],
        to in [any_size(), any_size(), any_size()], steps in 0_usize..9, start in 0_usize..4,
    ) {
        let (values, mut out) = (vec![1.0_f32; 150], vec![0.0_f32; 300]);
        let _ = silently(|| catch_unwind(move || {
            let product = Product::<f32, 3, false> {
                rows, units, chains, turn,
                lhs: Lhs { data: &values, row: left[0], step: left[1], segment: left[2] },
                rhs: Rhs { data: &values, step: right[0], tile: right[1], gate: right[2] },
                extent: Extent { segments: 2, steps },
                start: match start {
                    0 => Start::Zero,
                    1 => Start::Row(&values),
                    2 => Start::Out,
                    _ => Start::Added,
                },
                out: &mut out,
                strides: Strides { row: to[0], tile: to[1], gate: to[2] },
            };
            f32::dispatch(Level::best(), product);
        }));
    }
}
