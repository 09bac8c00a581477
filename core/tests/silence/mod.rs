//! Cells that forget slowly, driven by noise and then by nothing: how long a step takes under each.

use std::hint::black_box;
use std::time::Instant;
use unrolled::cell::fixed::{Fixed, Parameters, State, Variant};
use unrolled::rng::Rng;
use unrolled::simd::{Isa, Level};
use unrolled::{Activation, CellKind, Config, Gru, Lstm, Network, Rnn};

/// Inputs and units of every cell here.
pub const I: usize = 8;
pub const H: usize = 32;
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

/// Median seconds of a call.
fn time(mut call: impl FnMut()) -> f64 {
    let mut seconds: Vec<f64> = (0..101)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..50 {
                call();
            }
            start.elapsed().as_secs_f64() / 50.0
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds[50]
}

/// A step under noise and one in silence: seconds.
fn noise_and_silence(mut step: impl FnMut(&[f32; I])) -> (f64, f64) {
    let mut rng = Rng::new(3);
    let noise = [(); 64].map(|()| [(); I].map(|()| rng.uniform() as f32 - 0.5));
    let mut at = 0;
    let loud = time(|| {
        step(&noise[at]);
        at = (at + 1) % noise.len();
    });
    for _ in 0..DECAY {
        step(&[0.0; I]);
    }
    (loud, time(|| step(black_box(&[0.0; I]))))
}

fn denormal(values: &[f32]) -> usize {
    values.iter().filter(|v| v.is_subnormal()).count()
}

/// Parameters of a cell that forgets slowly. From the state only a unit's own value, by `own`, reaches gate `by`.
fn slow<const G: usize>(by: usize, own: f32, bias: [f32; G]) -> Parameters<f32, I, H, G> {
    let mut p = Parameters::zeros();
    let mut rng = Rng::new(4);
    for w in p.w_ih.as_flattened_mut().as_flattened_mut() {
        *w = rng.uniform() as f32 - 0.5;
    }
    for u in 0..H {
        p.w_hh[by][u][u] = own;
    }
    for g in 0..G {
        p.b_ih[g] = [bias[g]; H];
    }
    p
}

// The LSTM's f is σ(2.2) = 0.9, the GRU's z too; a small weight keeps h out of it.
fn lstm() -> Parameters<f32, I, H, 4> {
    slow(2, 1e-3, [0.0, 2.2, 0.0, 0.0])
}
fn gru() -> Parameters<f32, I, H, 3> {
    slow(2, 1e-3, [0.0, 2.2, 0.0])
}
fn rnn() -> Parameters<f32, I, H, 1> {
    slow(0, 0.9, [0.0])
}

fn fixed<V: Variant, const G: usize, const S: usize>(
    name: &str,
    cell: &Fixed<f32, V, I, H, G, S>,
    kept: fn(&State<f32, H>) -> &[f32; H],
) -> Outcome {
    let mut state = cell.zero_state();
    let (loud, silent) = noise_and_silence(|x| {
        black_box(cell.step(x, &mut state));
    });
    let name = format!("{name}, sizes fixed, {}", Level::best().isa());
    Outcome { name, denormal: denormal(kept(&state)), loud, silent }
}

/// The cells of fixed size, at the level that stands.
pub fn fixed_cells() -> Vec<Outcome> {
    vec![
        fixed("LSTM", &Lstm::from_parameters(&lstm()), |s| &s.c),
        fixed("GRU", &Gru::<_, I, H>::from_parameters(&gru()), |s| &s.h),
        fixed("RNN", &Rnn::<_, I, H>::from_parameters(&rnn()), |s| &s.h),
    ]
}

/// The streams of run-time nets, at every level there is.
pub fn streams() -> Vec<Outcome> {
    let nets = [
        ("LSTM", CellKind::Lstm { forget_gate: true }, lstm().slices().concat()),
        ("GRU", CellKind::Gru { reset_after: true }, gru().slices().concat()),
        ("RNN", CellKind::Rnn(Activation::Tanh), rnn().slices().concat()),
    ];
    let mut outcomes = Vec::new();
    for isa in Isa::ALL {
        let Some(level) = Level::get(isa) else {
            println!("{isa}: not run, this machine lacks it");
            continue;
        };
        for (name, kind, parameters) in &nets {
            let mut net = Network::<f32>::new(Config::new(*kind, I, H), level).unwrap();
            net.update(|own| {
                own.copy_from_slice(parameters);
                Ok::<(), unrolled::Error>(())
            })
            .unwrap();
            let mut stream = net.stream(1).unwrap();
            let mut y = [0.0; H];
            let (loud, silent) =
                noise_and_silence(|x| net.step(&mut stream, x, black_box(&mut y)).unwrap());
            let (h, c) = net.stream_state(&stream);
            let denormal = denormal(if c.is_empty() { &h } else { &c });
            outcomes.push(Outcome {
                name: format!("{name}, stream, {isa}"),
                denormal,
                loud,
                silent,
            });
        }
    }
    outcomes
}
