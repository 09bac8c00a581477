//! Cells that forget slowly, driven by noise and then by nothing: how long a step takes under each.

use std::hint::black_box;
use std::time::Instant;
use unrolled::cell::{Cell, ForgetGate, ResetAfter, Tanh};
use unrolled::fixed::{Fixed, Parameters, State};
use unrolled::rng::Rng;
use unrolled::simd::{Isa, Level};
use unrolled::{Activation, CellKind, Config, Gru, Lstm, Network, Rnn};

/// Inputs and units of every cell here.
pub const I: usize = 8;
pub const H: usize = 32;
/// Which of two states.
const LOUD: usize = 0;
const SILENT: usize = 1;
/// Steps in which every state has come to rest.
const DECAY: usize = 4000;

pub struct Outcome {
    pub name: String,
    /// How many of the `H` states (c of an LSTM, else h) are denormal at the end.
    pub denormal: usize,
    /// Median seconds of a step.
    pub loud: f64,
    pub silent: f64,
}

/// A step under noise and one in silence: median seconds, taken in turns. `step` is given which of two states to
/// move on.
fn noise_and_silence(mut step: impl FnMut(usize, &[f32; I])) -> (f64, f64) {
    const ROUNDS: usize = 101;
    const STEPS: usize = 64;
    let mut rng = Rng::new(3);
    let noise = [(); STEPS].map(|()| [(); I].map(|()| rng.uniform() as f32 - 0.5));
    noise.iter().for_each(|x| step(SILENT, x));
    for _ in 0..DECAY {
        step(SILENT, &[0.0; I]);
    }
    let mut seconds = [[0.0; ROUNDS]; 2];
    for round in 0..ROUNDS {
        for (which, x) in [(LOUD, noise), (SILENT, [[0.0; I]; STEPS])] {
            let x = black_box(&x);
            let begun = Instant::now();
            x.iter().for_each(|x| step(which, x));
            seconds[which][round] = begun.elapsed().as_secs_f64() / STEPS as f64;
        }
    }
    let [loud, silent] = seconds.map(|mut s| {
        s.sort_by(f64::total_cmp);
        s[ROUNDS / 2]
    });
    (loud, silent)
}

fn denormal(values: &[f32]) -> usize {
    values.iter().filter(|v| v.is_subnormal()).count()
}

/// Parameters of a cell that forgets slowly. From the state only a unit's own value, by `own`, reaches gate `by`.
fn slow<C: Cell>(by: usize, own: f32, bias: &[f32]) -> Parameters<C, f32, I, H> {
    let mut p = Parameters::zeros();
    let mut rng = Rng::new(4);
    let [w_ih, ..] = p.slices_mut();
    w_ih.iter_mut().for_each(|w| *w = rng.uniform() as f32 - 0.5);
    let [_, w_hh, b_ih, ..] = p.slices_mut();
    for u in 0..H {
        w_hh[(by * H + u) * H + u] = own;
    }
    for (own, &bias) in b_ih.chunks_mut(H).zip(bias) {
        own.fill(bias);
    }
    p
}

// The LSTM's f is σ(2.2) = 0.9, the GRU's z too; a small weight keeps h out of it.
fn lstm() -> Parameters<ForgetGate, f32, I, H> {
    slow(2, 1e-3, &[0.0, 2.2, 0.0, 0.0])
}
fn gru() -> Parameters<ResetAfter, f32, I, H> {
    slow(2, 1e-3, &[0.0, 2.2, 0.0])
}
fn rnn() -> Parameters<Tanh, f32, I, H> {
    slow(0, 0.9, &[0.0])
}

fn fixed<C: Cell>(
    name: &str,
    cell: &Fixed<C, f32, I, H>,
    kept: fn(&State<C, f32, H>) -> &[f32; H],
) -> Outcome {
    let mut states = [cell.zero_state(); 2];
    let (loud, silent) = noise_and_silence(|which, x| {
        black_box(cell.step(x, &mut states[which]));
    });
    let name = format!("{name}, sizes fixed, {}", Level::best().isa());
    Outcome { name, denormal: denormal(kept(&states[SILENT])), loud, silent }
}

/// Every level there is, lowest first; says which are missing.
fn levels() -> Vec<Level> {
    let have = |isa: Isa| {
        let level = Level::get(isa);
        if level.is_none() {
            println!("{isa}: not run, this machine lacks it");
        }
        level
    };
    Isa::ALL.into_iter().filter_map(have).collect()
}

/// The cells of fixed size, at every level, which stands for the whole process: the last remains.
pub fn fixed_cells() -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for level in levels() {
        Level::set_limit(level.isa());
        outcomes.extend([
            fixed("LSTM", &Lstm::from_parameters(&lstm()), |s| &s[1]),
            fixed("GRU", &Gru::<_, I, H>::from_parameters(&gru()), |s| s.h()),
            fixed("RNN", &Rnn::<_, I, H>::from_parameters(&rnn()), |s| s.h()),
        ]);
    }
    outcomes
}

/// The streams of run-time nets, at every level there is.
pub fn streams() -> Vec<Outcome> {
    let nets = [
        ("LSTM", CellKind::Lstm { forget_gate: true }, lstm().slices().concat()),
        ("GRU", CellKind::Gru { reset_after: true }, gru().slices().concat()),
        ("RNN", CellKind::Rnn(Activation::Tanh), rnn().slices().concat()),
    ];
    let mut outcomes = Vec::new();
    for level in levels() {
        for (name, kind, parameters) in &nets {
            let mut net = Network::<f32>::new(Config::new(*kind, I, H), level).unwrap();
            net.update(|own| {
                own.copy_from_slice(parameters);
                Ok::<(), unrolled::Error>(())
            })
            .unwrap();
            let mut streams = [net.stream(1).unwrap(), net.stream(1).unwrap()];
            let mut y = [0.0; H];
            let (loud, silent) = noise_and_silence(|which, x| {
                net.step(&mut streams[which], x, black_box(&mut y)).unwrap();
            });
            // c, or h where there is no other state.
            let states = net.stream_state(&streams[SILENT]);
            let denormal = states.last().map_or(0, |state| denormal(state));
            outcomes.push(Outcome {
                name: format!("{name}, stream, {}", level.isa()),
                denormal,
                loud,
                silent,
            });
        }
    }
    outcomes
}
