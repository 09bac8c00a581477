//! Fixed-size cells against the run-time networks: the same bits, forward and back.

mod common;
#[path = "common/nets.rs"]
mod nets;

use common::Shape;
use nets::{Arrays, levels};
use unrolled::Passes;
use unrolled::cell::{Cell, NoForgetGate, Relu, ResetBefore, Sigmoid};
use unrolled::fixed::{Fixed, Parameters, State, Tape};
use unrolled::gates::{Activation, CellKind, Config};
use unrolled::network::Recording;
use unrolled::simd::{Isa, Level};
use unrolled::{Gru, Lstm, Rnn};

const STEPS: usize = 70;

const LSTM: CellKind = CellKind::Lstm { forget_gate: true };
const LSTM_1997: CellKind = CellKind::Lstm { forget_gate: false };
const GRU: CellKind = CellKind::Gru { reset_after: true };
const GRU_ORIGINAL: CellKind = CellKind::Gru { reset_after: false };
const RNN: CellKind = CellKind::Rnn(Activation::Tanh);

fn judge<C: Cell, T: Passes, const I: usize, const H: usize>(
    make: fn(&Parameters<C, T, I, H>) -> Fixed<C, T, I, H>,
    kind: CellKind,
    steps: usize,
) {
    let case = Shape::new(Config::new(kind, I, H), steps, 1, 7).case();
    let arrays = Arrays::<T>::new(case);
    let mut p = Parameters::<C, T, I, H>::zeros();
    let net = arrays.net(Level::best());
    let mut rest = net.parameters();
    for own in p.slices_mut() {
        let from;
        (from, rest) = rest.split_at(own.len());
        own.copy_from_slice(from);
    }
    assert!(rest.is_empty());
    let (output, record, g) = arrays.run(&net, Recording::default(), None);

    let cell = make(&p);
    let of = |h: &[T], c: &[T]| {
        let mut state: State<C, T, H> = cell.zero_state();
        for (own, from) in state.as_mut().iter_mut().zip([h, c]) {
            own.copy_from_slice(from);
        }
        state
    };
    let mut state = of(&arrays.h0, &arrays.c0);
    let mut plain = state;
    let mut tape: Box<Tape<C, T, I, H, STEPS>> = Box::new(cell.tape());
    let mut y = Vec::new();
    for x in arrays.x.chunks(I) {
        let x: &[T; I] = x.try_into().unwrap();
        y.extend_from_slice(cell.record(x, &mut state, &mut tape).unwrap());
        cell.step(x, &mut plain);
    }
    assert_eq!(y, output.y);
    assert_eq!(state, plain);
    assert_eq!(state.as_ref().len(), output.states.len());
    for (own, expected) in state.as_ref().iter().zip(&output.states) {
        assert_eq!(own[..], **expected);
    }

    let mut d_state = of(&arrays.dh, &arrays.dc);
    let count = d_state.as_ref().len() * H;
    let jacobians = net.step_jacobians(&record, 0, None).unwrap();
    for (t, expected) in jacobians.chunks(count * count).enumerate() {
        for (i, expected) in expected.chunks(count).enumerate() {
            let mut row = cell.zero_state();
            row[i / H][i % H] = T::ONE;
            cell.pull_back(&mut tape, t, &mut row).unwrap();
            assert_eq!(row.as_ref().as_flattened(), expected, "step {t}, row {i}");
        }
        let mut cotangent = d_state;
        cell.pull_back(&mut tape, t, &mut cotangent).unwrap();
        let back = |state: &State<C, T, H>| -> Vec<f64> {
            state.as_ref().as_flattened().iter().map(|v| v.to_f64()).collect()
        };
        let v = back(&d_state);
        let row = |j: usize| {
            let column = expected.chunks(count).map(|row| row[j].to_f64());
            v.iter().zip(column).map(|(v, j)| v * j).sum::<f64>()
        };
        let product: Vec<f64> = (0..count).map(row).collect();
        let tolerance = common::tolerance::gradients::<T>();
        common::assert_close("vᵀJ", &back(&cotangent), &product, tolerance);
    }
    assert!(cell.pull_back(&mut tape, steps, &mut d_state).is_err());
    let d_y: Vec<[T; H]> = arrays.dy.chunks(H).map(|d| d.try_into().unwrap()).collect();
    let mut d_x = vec![[T::ZERO; I]; steps];
    let mut gradients = Parameters::zeros();
    cell.backward(&mut tape, &d_y, &mut d_state, &mut d_x, &mut gradients).unwrap();
    assert_eq!(d_x.as_flattened(), g.x);
    for (own, expected) in d_state.as_ref().iter().zip(&g.states) {
        assert_eq!(own[..], **expected);
    }
    assert_eq!(gradients.slices().concat(), g.parameters);

    // A full tape and wrong lengths are errors, and change nothing.
    let mut full: Box<Tape<C, T, I, H, 0>> = Box::new(cell.tape());
    let before = state;
    assert!(cell.record(&[T::ZERO; I], &mut state, &mut full).is_err());
    assert_eq!(state, before);
    assert!(
        cell.backward(&mut tape, &[], &mut d_state, &mut [], &mut gradients).is_err()
            == (steps > 0)
    );
}

fn every_variant<T: Passes, const I: usize, const H: usize>(steps: usize) {
    judge(Lstm::<T, I, H>::from_parameters, LSTM, steps);
    judge(Fixed::<NoForgetGate, T, I, H>::from_parameters, LSTM_1997, steps);
    judge(Gru::<T, I, H>::from_parameters, GRU, steps);
    judge(Gru::<T, I, H, ResetBefore>::from_parameters, GRU_ORIGINAL, steps);
    judge(Rnn::<T, I, H>::from_parameters, RNN, steps);
    judge(Rnn::<T, I, H, Relu>::from_parameters, CellKind::Rnn(Activation::Relu), steps);
    judge(Rnn::<T, I, H, Sigmoid>::from_parameters, CellKind::Rnn(Activation::Sigmoid), steps);
}

#[test]
fn fixed_sizes_give_the_bits_of_run_time_sizes() {
    for level in levels() {
        // The limit is the process's: one test sets it.
        Level::set_limit(level.isa());
        every_variant::<f32, 1, 8>(5);
        every_variant::<f32, 3, 7>(STEPS);
        every_variant::<f32, 17, 33>(3);
        every_variant::<f64, 2, 13>(STEPS);
        judge(Lstm::<f32, 1, 1>::from_parameters, LSTM, 0);
        judge(Gru::<f32, 1, 20>::from_parameters, GRU, 9);
        // More than one block of units before the last, which is of a whole tile more, and of a part of one.
        judge(Lstm::<f32, 2, 80>::from_parameters, LSTM, 3);
        judge(Gru::<f32, 1, 72>::from_parameters, GRU, 3);
        judge(Gru::<f64, 1, 50, ResetBefore>::from_parameters, GRU_ORIGINAL, 3);
        judge(Rnn::<f32, 1, 164>::from_parameters, RNN, 3);
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
