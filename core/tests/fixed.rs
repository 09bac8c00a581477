//! Fixed-size cells against the run-time networks: the same bits, forward and back.

mod common;
#[path = "common/nets.rs"]
mod nets;

use common::Shape;
use nets::{Arrays, levels};
use unrolled::Passes;
use unrolled::cell::fixed::{
    Fixed, Jacobian, Parameters, Relu, ResetBefore, Sigmoid, State, Tape, Variant,
};
use unrolled::gates::Config;
use unrolled::network::Recording;
use unrolled::simd::{Isa, Level};
use unrolled::{Gru, Lstm, Rnn};

const STEPS: usize = 70;

fn judge<T: Passes, V: Variant, const I: usize, const H: usize, const G: usize, const S: usize>(
    _: fn(&Parameters<T, I, H, G>) -> Fixed<T, V, I, H, G, S>,
    steps: usize,
) {
    let case = Shape::new(Config::new(V::KIND, I, H), steps, 1, 7).case();
    let arrays = Arrays::<T>::new(case);
    let mut p = Parameters::<T, I, H, G>::zeros();
    let net = arrays.net(Level::best());
    let mut rest = net.parameters();
    for own in p.slices_mut() {
        let from;
        (from, rest) = rest.split_at(own.len());
        own.copy_from_slice(from);
    }
    let (output, record, g) = arrays.run(&net, Recording::default(), None);

    let cell = Fixed::<T, V, I, H, G, S>::from_parameters(&p);
    let mut state: State<T, H> = cell.zero_state();
    state.h.copy_from_slice(&arrays.h0);
    if V::KIND.has_cell_state() {
        state.c.copy_from_slice(&arrays.c0);
    }
    let mut plain = state;
    let mut tape: Box<Tape<T, I, H, G, S, STEPS>> = Box::new(cell.tape());
    let mut y = Vec::new();
    for x in arrays.x.chunks(I) {
        let x: &[T; I] = x.try_into().unwrap();
        y.extend_from_slice(cell.record(x, &mut state, &mut tape).unwrap());
        cell.step(x, &mut plain);
    }
    assert_eq!(y, output.y);
    assert_eq!(state, plain);
    assert_eq!(state.h[..], output.h);

    let mut d_state: State<T, H> = cell.zero_state();
    d_state.h.copy_from_slice(&arrays.dh);
    if V::KIND.has_cell_state() {
        assert_eq!(state.c[..], output.c);
        d_state.c.copy_from_slice(&arrays.dc);
    }
    let mut jacobian = Jacobian::zeros();
    let jacobians = net.step_jacobians(&record, 0, None).unwrap();
    for (t, expected) in jacobians.chunks((jacobians.len() / steps.max(1)).max(1)).enumerate() {
        cell.jacobian(&mut tape, t, &mut jacobian).unwrap();
        let Jacobian { h_h, h_c, c_h, c_c } = &jacobian;
        let s = if V::KIND.has_cell_state() { 2 * H } else { H };
        for (i, expected) in expected.chunks(s).enumerate() {
            let (h, c) = if i < H { (h_h[i], h_c[i]) } else { (c_h[i - H], c_c[i - H]) };
            assert_eq!([h, c].as_flattened()[..s], *expected, "step {t}, row {i}");
        }
        let mut cotangent = d_state;
        cell.pull_back(&mut tape, t, &mut cotangent).unwrap();
        let v = [d_state.h, d_state.c];
        let row = |j: usize| {
            let column = expected.chunks(s).map(|row| row[j].to_f64());
            v.as_flattened().iter().zip(column).map(|(v, j)| v.to_f64() * j).sum::<f64>()
        };
        let product: Vec<f64> = (0..s).map(row).collect();
        let got: Vec<f64> =
            [cotangent.h, cotangent.c].as_flattened()[..s].iter().map(|v| v.to_f64()).collect();
        common::assert_close("vᵀJ", &got, &product, common::tolerance::gradients::<T>());
    }
    assert!(cell.jacobian(&mut tape, steps, &mut jacobian).is_err());
    let d_y: Vec<[T; H]> = arrays.dy.chunks(H).map(|d| d.try_into().unwrap()).collect();
    let mut d_x = vec![[T::ZERO; I]; steps];
    let mut gradients = Parameters::zeros();
    cell.backward(&mut tape, &d_y, &mut d_state, &mut d_x, &mut gradients).unwrap();
    assert_eq!(d_x.as_flattened(), g.x);
    assert_eq!(d_state.h[..], g.h);
    if V::KIND.has_cell_state() {
        assert_eq!(d_state.c[..], g.c);
    }
    let mut flat = Vec::new();
    gradients.slices().iter().for_each(|own| flat.extend_from_slice(own));
    assert_eq!(flat, g.parameters);

    // A full tape and wrong lengths are errors, and change nothing.
    let mut full: Box<Tape<T, I, H, G, S, 0>> = Box::new(cell.tape());
    let before = state;
    assert!(cell.record(&[T::ZERO; I], &mut state, &mut full).is_err());
    assert_eq!(state, before);
    assert!(
        cell.backward(&mut tape, &[], &mut d_state, &mut [], &mut gradients).is_err()
            == (steps > 0)
    );
}

fn every_variant<T: Passes, const I: usize, const H: usize>(steps: usize) {
    judge(Lstm::<T, I, H>::from_parameters, steps);
    judge(Gru::<T, I, H>::from_parameters, steps);
    judge(Gru::<T, I, H, ResetBefore>::from_parameters, steps);
    judge(Rnn::<T, I, H>::from_parameters, steps);
    judge(Rnn::<T, I, H, Relu>::from_parameters, steps);
    judge(Rnn::<T, I, H, Sigmoid>::from_parameters, steps);
}

#[test]
fn fixed_sizes_give_the_bits_of_run_time_sizes() {
    for level in levels() {
        // The limit is the process's: one test sets it.
        Level::set_limit(level.isa());
        every_variant::<f32, 1, 8>(5);
        every_variant::<f32, 3, 7>(STEPS);
        every_variant::<f32, 1, 20>(9);
        every_variant::<f32, 17, 33>(3);
        every_variant::<f64, 2, 13>(STEPS);
        every_variant::<f32, 1, 1>(0);
        // More than one block of units before the last, which is of a whole tile more, and of a part of one.
        judge(Lstm::<f32, 2, 80>::from_parameters, 3);
        judge(Gru::<f32, 1, 72>::from_parameters, 3);
        judge(Gru::<f64, 1, 50, ResetBefore>::from_parameters, 3);
        judge(Rnn::<f32, 1, 164>::from_parameters, 3);
    }
    Level::set_limit(Isa::Avx512);
}

#[test]
fn a_static_cell_steps_as_the_documentation_says() {
    static CELL: Lstm<f32, 1, 32> =
        Lstm::new([[[0.5]; 32]; 4], [[[0.01; 32]; 32]; 4], [[0.1; 32]; 4], [[0.0; 32]; 4]);
    let mut state = CELL.zero_state();
    let h: &[f32; 32] = CELL.step(&[1.0], &mut state);
    // c = σ(0.6) tanh(0.6), h = σ(0.6) tanh(c)
    let c = 0.645_656_3 * 0.537_049_6_f64;
    assert!((f64::from(h[0]) - 0.645_656_3 * c.tanh()).abs() < 1e-6);
}
