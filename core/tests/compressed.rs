//! Cells of smaller weights: the bits of the cells of the weights that they stand for, and how near those are.

#[path = "common/cells.rs"]
mod cells;
mod common;
#[path = "common/nets.rs"]
mod nets;

use cells::{SixSlots, TwoMaps};
use common::Rng;
use nets::levels;
use unrolled::cell::{Cell, ForgetGate, ResetAfter, ResetBefore, Tanh};
use unrolled::fixed::{Compressed, Fixed, Float16, Int8, Parameters};
use unrolled::math::Fast;
use unrolled::simd::{Isa, Level, Weight};
use unrolled::{Error, Lstm, Passes};

const STEPS: usize = 5;

fn random<C: Cell, T: Passes, const I: usize, const H: usize>() -> Parameters<C, T, I, H> {
    let (mut rng, mut parameters) = (Rng(3), Parameters::zeros());
    for own in parameters.slices_mut() {
        own.iter_mut().for_each(|p| *p = T::from_f64(rng.uniform(0.5)));
    }
    parameters
}

fn judge<C: Cell, T: Passes, const I: usize, const H: usize, W: Weight<T>>() {
    let parameters = random::<C, T, I, H>();
    let compressed = Box::new(Compressed::<C, T, I, H, W>::of(&parameters).unwrap());
    let small = Box::new(Fixed::from_compressed(&compressed));
    let same = Box::new(Fixed::from_parameters(&compressed.parameters()));
    let whole = Box::new(Fixed::from_parameters(&parameters));
    let mut state = small.zero_state();
    let (mut expected, mut other) = (state, state);
    let mut rng = Rng(4);
    for t in 0..STEPS {
        let x = [(); I].map(|()| T::from_f64(rng.uniform(2.0)));
        small.step(&x, &mut state);
        same.step(&x, &mut expected);
        assert_eq!(state, expected, "step {t}");
        whole.step(&x, &mut other);
    }
    assert_ne!(state, other, "nothing was rounded");
}

fn every_cell<T: Passes, W: Weight<T>, const I: usize, const H: usize>() {
    judge::<ForgetGate, T, I, H, W>();
    judge::<ResetAfter, T, I, H, W>();
    judge::<ResetBefore, T, I, H, W>();
    judge::<Tanh, T, I, H, W>();
}

#[test]
fn smaller_weights_give_the_bits_of_what_they_stand_for() {
    for level in levels() {
        // The limit is the process's: one test sets it.
        Level::set_limit(level.isa());
        every_cell::<f32, Int8, 3, 7>();
        judge::<ForgetGate, f32, 1, 16, Float16>();
        judge::<ResetAfter, f32, 17, 37, Float16>();
        judge::<ForgetGate, f32, 2, 80, Int8>();
        judge::<ForgetGate, f64, 2, 13, Int8>();
        judge::<Tanh, f64, 2, 13, Float16>();
        // Gates in groups; maps of values, which have scales of their own.
        judge::<SixSlots, f32, 2, 13, Int8>();
        judge::<TwoMaps, f32, 2, 13, Int8>();
    }
    Level::set_limit(Isa::Avx512);
}

/// Every normal number of binary16 is what IEEE 754 says, and is stored as itself; what lies between two becomes the
/// nearer one, the even one of two as near.
#[test]
fn halves_are_those_of_ieee_754() {
    let value = |bits: u16| {
        let (exponent, fraction) = (i32::from(bits >> 10) - 15, f64::from(bits & 0x3ff) / 1024.0);
        ((1.0 + fraction) * 2_f64.powi(exponent)) as f32
    };
    let stored = |w: f32| {
        let mut to = [1];
        <Float16 as Weight<f32>>::store(&[w], &mut to);
        to[0]
    };
    let next = |w: f32, by: i32| f32::from_bits(w.to_bits().wrapping_add_signed(by));
    for bits in 0x400..0x7c00_u16 {
        let w = value(bits);
        assert_eq!(<Float16 as Weight<f32>>::weight(bits, ()).to_bits(), w.to_bits(), "{bits:#x}");
        assert_eq!(<Float16 as Weight<f32>>::weight(bits | 0x8000, ()).to_bits(), (-w).to_bits());
        assert_eq!((stored(w), stored(-w)), (bits, bits | 0x8000), "{w}");
        if bits < 0x7bff {
            let middle = w.midpoint(value(bits + 1));
            assert_eq!(stored(middle), bits + (bits & 1), "{middle}");
            assert_eq!((stored(next(middle, -1)), stored(next(middle, 1))), (bits, bits + 1));
        }
    }
    let least = value(0x400);
    assert_eq!([0.0, -0.0, least / 2.0, next(least / 2.0, 1)].map(stored), [0, 0x8000, 0, 0x400]);
    assert_eq!([65504.0, 65520.0, 1e30, -1e30].map(stored), [0x7bff, 0x7bff, 0x7bff, 0xfbff]);
    assert_eq!(<Float16 as Weight<f64>>::weight(0x3555, ()), f64::from(value(0x3555)));
}

#[test]
fn integers_are_within_half_a_step() {
    let mut rng = Rng(9);
    for _ in 0..100 {
        let row: Vec<f32> = rng.vector(33, 3.0).iter().map(|&w| w as f32).collect();
        let mut to = [0; 33];
        let scale = Int8::store(&row, &mut to);
        let most = row.iter().fold(0.0, |most: f32, w| most.max(w.abs()));
        assert_eq!(scale, most / 127.0);
        for (&stored, w) in to.iter().zip(row) {
            let stands_for: f32 = Int8::weight(stored, scale);
            let error = f64::from(stands_for) - f64::from(w);
            assert!(error.abs() <= f64::from(scale) * (0.5 + 1e-5), "{stored} for {w}");
        }
    }
    let mut to = [1; 3];
    assert_eq!((Int8::store(&[0.0_f32, -0.0, 0.0], &mut to), to), (0.0, [0; 3]));
    assert_eq!((Int8::store(&[-1.0_f32, 0.5, 1.0], &mut to), to), (1.0 / 127.0, [-127, 64, 127]));
    // So small that there is no scale for them.
    let least = f32::from_bits(1);
    let nothing: f32 = Int8::weight(127, Int8::store(&[least], &mut to[..1]));
    assert_eq!(nothing, 0.0);
}

#[test]
fn what_is_not_finite_is_refused() {
    for weight in [f32::NAN, f32::INFINITY] {
        let mut parameters = random::<ForgetGate, f32, 1, 4>();
        parameters.w_hh[3][2][1] = weight;
        let error = Compressed::<_, _, 1, 4, Int8>::of(&parameters).unwrap_err();
        assert_eq!(error, Error::Invalid { argument: "w_hh", expected: "finite numbers" });
    }
}

#[test]
fn a_static_cell_takes_what_its_numbers_take() {
    static CELL: Lstm<f32, 1, 32, Int8> = Lstm::from_compressed(&Compressed {
        w_ih: [[[127]; 32]; 4],
        w_hh: [[[-3; 32]; 32]; 4],
        scale_ih: [[0.004; 32]; 4],
        scale_hh: [[0.001; 32]; 4],
        b_ih: [[0.1; 32]; 4],
        b_hh: [[0.0; 32]; 4],
        w_p: [],
    });
    let same = Lstm::new(
        [[[127.0 * 0.004]; 32]; 4],
        [[[-3.0 * 0.001; 32]; 32]; 4],
        [[0.1; 32]; 4],
        [[0.0; 32]; 4],
    );
    let (mut state, mut expected) = (CELL.zero_state(), same.zero_state());
    for x in [1.0, -0.5] {
        assert_eq!(CELL.step(&[x], &mut state), same.step(&[x], &mut expected));
        let fast = CELL.step_with(Fast, &[x], &mut state);
        assert_eq!(fast, same.step_with(Fast, &[x], &mut expected));
    }
    assert_eq!(size_of_val(&CELL), 4 * 32 * (1 + 32) + 4 * 4 * 4 * 32);
    assert_eq!(size_of::<Lstm<f32, 1, 32, Float16>>(), 2 * 4 * 32 * (1 + 32) + 2 * 4 * 4 * 32);
    assert_eq!(size_of_val(&same), 4 * 4 * 32 * (1 + 32) + 2 * 4 * 4 * 32);
}
