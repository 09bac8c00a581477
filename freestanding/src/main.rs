//! Trains an LSTM of fixed size to repeat what it heard three steps ago, without `std`, without an
//! allocator, and with a panic handler of its own. Exits with 0 when the loss has fallen tenfold.
//!
//! `lstm_step` and its like are kept as symbols: the test that builds this program follows every call from them and
//! allows neither a panic nor an allocation.
#![no_std]
#![no_main]

use unrolled::activation::Function;
use unrolled::cell::{ForgetGate, ResetAfter, Tanh};
use unrolled::fixed::{Dense, Parameters, State, Tape};
use unrolled::math::Fast;
use unrolled::rng::Rng;
use unrolled::simd::Level;
use unrolled::train::Adam;
use unrolled::{Error, Gru, Lstm, Rnn};

const UNITS: usize = 16;
const STEPS: usize = 24;
const LAG: usize = 3;

type Cell = Lstm<f32, 1, UNITS>;
type Weights = Parameters<ForgetGate, f32, 1, UNITS>;
type Carried = State<ForgetGate, f32, UNITS>;
type Steps = Tape<ForgetGate, f32, 1, UNITS, STEPS>;

// Start-up code and memcpy.
#[link(name = "c")]
unsafe extern "C" {}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(no_mangle)]
#[inline(never)]
fn lstm_step(cell: &Cell, x: &[f32; 1], state: &mut Carried) {
    cell.step(x, state);
}

#[unsafe(no_mangle)]
#[inline(never)]
fn lstm_record(
    cell: &Cell,
    x: &[f32; 1],
    state: &mut Carried,
    tape: &mut Steps,
) -> bool {
    cell.record(x, state, tape).is_ok()
}

#[unsafe(no_mangle)]
#[inline(never)]
fn lstm_backward(
    cell: &Cell,
    tape: &mut Steps,
    d_y: &[[f32; UNITS]],
    d_state: &mut Carried,
    d_x: &mut [[f32; 1]],
    gradients: &mut Weights,
) -> bool {
    cell.backward(tape, d_y, d_state, d_x, gradients).is_ok()
}

#[unsafe(no_mangle)]
#[inline(never)]
fn lstm_train(
    adam: &Adam,
    t: u64,
    weights: &mut Weights,
    gradients: &Weights,
    m: &mut Weights,
    v: &mut Weights,
) -> bool {
    let moments = m.slices_mut().into_iter().zip(v.slices_mut());
    let mut slices = weights.slices_mut().into_iter().zip(gradients.slices()).zip(moments);
    slices.all(|((own, g), (m, v))| adam.step(t, own, g, m, v).is_ok())
}

#[unsafe(no_mangle)]
#[inline(never)]
fn lstm_step_fast(cell: &Lstm<f32, 3, 20>, x: &[f32; 3], state: &mut State<ForgetGate, f32, 20>) {
    cell.step_with(Fast, x, state);
}

#[unsafe(no_mangle)]
#[inline(never)]
fn gru_step(cell: &Gru<f64, 2, 7>, x: &[f64; 2], state: &mut State<ResetAfter, f64, 7>) {
    cell.step(x, state);
}

#[unsafe(no_mangle)]
#[inline(never)]
fn rnn_step(cell: &Rnn<f32, 5, 33>, x: &[f32; 5], state: &mut State<Tanh, f32, 33>) {
    cell.step(x, state);
}

#[unsafe(no_mangle)]
#[inline(never)]
fn read_out_step(layer: &Dense<f32, 33, 5>, x: &[f32; 33], y: &mut [f32; 5]) {
    *y = layer.forward(x);
    Function::Elu { alpha: 1.0 }.apply(Level::best(), y, 5);
    Function::Softmax.apply(Level::best(), y, 5);
}

// The precompiled `core` names it in tables for unwinding, which never happens here.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

const NO_ROOM: Error = Error::TooLarge { what: "tape" };

/// One sequence: the mean squared error, and the gradients by the cell's and the read-out's parameters.
fn sequence(
    cell: &Cell,
    read_out: &[f32; UNITS],
    rng: &mut Rng,
    tape: &mut Steps,
    gradients: &mut Weights,
    d_read_out: &mut [f32; UNITS],
) -> Result<f32, Error> {
    let mut x = [[0.0; 1]; STEPS];
    for x in &mut x {
        x[0] = if rng.uniform() < 0.5 { -1.0 } else { 1.0 };
    }
    let mut state = cell.zero_state();
    let mut d_y = [[0.0; UNITS]; STEPS];
    let mut loss = 0.0;
    tape.clear();
    for t in 0..STEPS {
        if !lstm_record(cell, &x[t], &mut state, tape) {
            return Err(NO_ROOM);
        }
        let h = state.h();
        if t >= LAG {
            let y: f32 = h.iter().zip(read_out).map(|(h, w)| h * w).sum();
            let error = y - x[t - LAG][0];
            loss += error * error;
            for u in 0..UNITS {
                d_y[t][u] = 2.0 * error * read_out[u];
                d_read_out[u] += 2.0 * error * h[u];
            }
        }
    }
    let mut d_state = cell.zero_state();
    let mut d_x = [[0.0; 1]; STEPS];
    if !lstm_backward(cell, tape, &d_y, &mut d_state, &mut d_x, gradients) {
        return Err(NO_ROOM);
    }
    Ok(loss / (STEPS - LAG) as f32)
}

/// The loss at the start and at the end.
fn train() -> Result<(f32, f32), Error> {
    let mut rng = Rng::new(1);
    let mut weights = Weights::zeros();
    for own in weights.slices_mut() {
        own.iter_mut().for_each(|w| *w = rng.uniform() as f32 * 0.5 - 0.25);
    }
    let mut read_out = [0.1; UNITS];
    let (mut m, mut v) = (Weights::zeros(), Weights::zeros());
    let (mut m_out, mut v_out) = ([0.0; UNITS], [0.0; UNITS]);
    let adam = Adam { lr: 0.02, ..Adam::default() };
    let mut tape = Tape::new();
    let (mut first, mut last) = (0.0, 0.0);
    for update in 1..=400 {
        let cell = Cell::from_parameters(&weights);
        let mut gradients = Weights::zeros();
        let mut d_read_out = [0.0; UNITS];
        let mut loss = 0.0;
        for _ in 0..8 {
            loss +=
                sequence(&cell, &read_out, &mut rng, &mut tape, &mut gradients, &mut d_read_out)?
                    / 8.0;
        }
        if !lstm_train(&adam, update, &mut weights, &gradients, &mut m, &mut v) {
            return Err(NO_ROOM);
        }
        adam.step(update, &mut read_out, &d_read_out, &mut m_out, &mut v_out)?;
        (first, last) = (if update == 1 { loss } else { first }, loss);
    }
    // The symbols above stay only where they are used.
    let mut state = Carried::zeros();
    lstm_step(&Cell::from_parameters(&weights), &[1.0], &mut state);
    let cell = Lstm::new([[[0.1; 3]; 20]; 4], [[[0.1; 20]; 20]; 4], [[0.0; 20]; 4], [[0.0; 20]; 4]);
    lstm_step_fast(&cell, &[1.0; 3], &mut cell.zero_state());
    let cell = Gru::new([[[0.1; 2]; 7]; 3], [[[0.1; 7]; 7]; 3], [[0.0; 7]; 3], [[0.0; 7]; 3]);
    gru_step(&cell, &[1.0; 2], &mut cell.zero_state());
    let cell = Rnn::new([[[0.1; 5]; 33]], [[[0.1; 33]; 33]], [[0.0; 33]], [[0.0; 33]]);
    rnn_step(&cell, &[1.0; 5], &mut cell.zero_state());
    read_out_step(&Dense::new([[0.1; 33]; 5], [0.0; 5]), &[1.0; 33], &mut [0.0; 5]);
    Ok((first, last))
}

/// What the C start-up code calls: the one thing of the host's that this program uses.
#[unsafe(no_mangle)]
pub extern "C" fn main() -> i32 {
    match train() {
        Ok((first, last)) if last * 10.0 < first => 0,
        Ok(_) => 1,
        Err(_) => 2,
    }
}
