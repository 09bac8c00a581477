//! The kernels' speed on one core: streaming steps of fixed-size cells, batched passes of run-time nets, at
//! every level, beside the machine's own limit (the rate of independent multiply-adds in registers).
//!
//! `cargo bench --bench speed [-- filter]`. Medians of many runs; on a shared machine, compare the shares.

use std::hint::black_box;
use std::time::Instant;
use unrolled::Passes;
use unrolled::cell::Cell;
use unrolled::error::Error;
use unrolled::fixed::{Fixed, Parameters};
use unrolled::gates::{Activation, CellKind, Config};
use unrolled::math::{Accurate, Fast, Math};
use unrolled::network::{Input, Losses, Network, Recording, View};
use unrolled::peak::multiply_adds;
use unrolled::real::Real;
use unrolled::rng::Rng;
use unrolled::simd::{Element, Isa, Level};
use unrolled::{Gru, Lstm, Rnn};

/// Median seconds of a call, over calls that last about 0.3 s together.
fn time(mut call: impl FnMut()) -> f64 {
    call();
    let once = Instant::now();
    call();
    let once = once.elapsed().as_secs_f64().max(1e-9);
    let inner = (2e-4 / once).ceil() as usize;
    let rounds = ((0.3 / (once * inner as f64)) as usize).clamp(7, 401);
    let mut seconds: Vec<f64> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..inner {
                call();
            }
            start.elapsed().as_secs_f64() / inner as f64
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds[rounds / 2]
}

/// Independent multiply-adds: GFLOP/s.
fn peak<T: Element>(level: Level) -> f64 {
    const ROUNDS: usize = 20_000;
    let mut operations = 0;
    let seconds = time(|| operations = multiply_adds::<T>(level, ROUNDS));
    operations as f64 / seconds / 1e9
}

fn parameters<C: Cell, T: Real, const I: usize, const H: usize>() -> Parameters<C, T, I, H> {
    let mut p = Parameters::zeros();
    let mut rng = Rng::new(1);
    for own in p.slices_mut() {
        own.iter_mut().for_each(|v| *v = T::from_f64((rng.uniform() - 0.5) / (H as f64).sqrt()));
    }
    p
}

fn stream<C: Cell, const I: usize, const H: usize>(
    name: &str,
    make: fn(&Parameters<C, f32, I, H>) -> Fixed<C, f32, I, H>,
    prototype: &str,
) {
    fn nanoseconds<M: Math, C: Cell, const I: usize, const H: usize>(
        cell: &Fixed<C, f32, I, H>,
        math: M,
    ) -> f64 {
        let mut state = cell.zero_state();
        let x = [0.3; I];
        1e9 * time(|| {
            black_box(cell.step_with(math, black_box(&x), &mut state));
        })
    }
    let cell = make(&parameters());
    let (fast, accurate) = (nanoseconds(&cell, Fast), nanoseconds(&cell, Accurate));
    println!("  {name:<5}{I:>4}{H:>5}   {fast:>7.1} {accurate:>9.1}   {prototype:>12}");
}

fn streams() {
    println!(
        "  cell    I    H   fast ns  accurate ns   prototype (fast, accurate; AVX-512, another machine)"
    );
    stream("LSTM", Lstm::<f32, 1, 8>::from_parameters, "41, 60");
    stream("LSTM", Lstm::<f32, 1, 16>::from_parameters, "52, 73");
    stream("LSTM", Lstm::<f32, 1, 20>::from_parameters, "74, 102");
    stream("LSTM", Lstm::<f32, 1, 32>::from_parameters, "92, 118");
    stream("LSTM", Lstm::<f32, 1, 40>::from_parameters, "159, 191");
    stream("LSTM", Lstm::<f32, 1, 64>::from_parameters, "455, 480");
    stream("LSTM", Lstm::<f32, 32, 32>::from_parameters, "145, 190");
    stream("LSTM", Lstm::<f32, 64, 128>::from_parameters, "3150, 3300");
    stream("GRU", Gru::<f32, 1, 8>::from_parameters, "39");
    stream("GRU", Gru::<f32, 1, 16>::from_parameters, "48");
    stream("GRU", Gru::<f32, 1, 32>::from_parameters, "75");
    stream("GRU", Gru::<f32, 1, 64>::from_parameters, "324");
    stream("RNN", Rnn::<f32, 1, 16>::from_parameters, "26");
    stream("RNN", Rnn::<f32, 1, 64>::from_parameters, "98");
}

/// Forward and forward + backward of (T, B, I, H): milliseconds, and the share of `peak` GFLOP/s.
fn batched<T: Passes>(
    level: Level,
    kind: CellKind,
    [steps, batch, inputs, units]: [usize; 4],
    peak: f64,
    prototype: &str,
) {
    let config = Config::new(kind, inputs, units);
    let mut net = Network::<T>::new(config, level).unwrap();
    let mut rng = Rng::new(2);
    let scale = 1.0 / (units as f64).sqrt();
    let mut draw = |scale: f64| T::from_f64((2.0 * rng.uniform() - 1.0) * scale);
    net.update(|p: &mut [T]| -> Result<(), Error> {
        p.iter_mut().for_each(|p| *p = draw(scale));
        Ok(())
    })
    .unwrap();
    let x: Vec<T> = (0..steps * batch * inputs).map(|_| draw(1.0)).collect();
    let d_y: Vec<T> = (0..steps * batch * units).map(|_| draw(1.0)).collect();
    let input = Input {
        x: View::time_major(&x, batch, inputs),
        steps,
        batch,
        states: None,
        lengths: None,
        resets: None,
    };
    let losses = Losses { y: View::time_major(&d_y, batch, units), states: None };
    let forward = time(|| {
        black_box(net.forward(&input, None).unwrap());
    });
    let both = time(|| {
        let (_, tape) = net.record(&input, Recording::default(), None).unwrap();
        black_box(net.backward(&tape, &losses, None, None).unwrap());
    });
    let gates = kind.gates().len();
    let flops = 2.0 * (steps * batch * gates * units * (inputs + units)) as f64 / 1e9;
    let name = match kind {
        CellKind::Lstm { .. } => "LSTM",
        CellKind::Gru { .. } => "GRU",
        CellKind::Rnn(_) => "RNN",
        CellKind::Open(_) => "open",
    };
    let sizes = format!("{steps},{batch},{inputs},{units}");
    println!(
        "  {name:<5}{:<8} {sizes:<16} {:>9.3} ms {:>4.0} %   {:>9.3} ms {:>4.0} %   {prototype}",
        T::NAME,
        forward * 1e3,
        100.0 * flops / forward / peak,
        both * 1e3,
        100.0 * 3.0 * flops / both / peak,
    );
}

fn main() {
    let filter: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    #[cfg(feature = "rayon")]
    unrolled::batch::set_num_threads(1);
    let (lstm, gru) = (CellKind::Lstm { forget_gate: true }, CellKind::Gru { reset_after: true });
    let rnn = CellKind::Rnn(Activation::Tanh);
    for isa in Isa::ALL {
        if !filter.is_empty() && !filter.iter().any(|f| f == isa.name()) {
            continue;
        }
        let Some(level) = Level::get(isa) else {
            println!("{isa}: not run, this machine lacks it");
            continue;
        };
        Level::set_limit(isa);
        let (peak32, peak64) = (peak::<f32>(level), peak::<f64>(level));
        println!("{isa}: multiply-adds at {peak32:.0} (float32) and {peak64:.0} (float64) GFLOP/s");
        streams();
        println!(
            "        T,B,I,H        forward     of peak    + backward     of peak   prototype's shares (AVX-512)"
        );
        // The prototype's milliseconds of a peak of 166 GFLOP/s, as shares of it.
        batched::<f32>(level, lstm, [100, 32, 16, 32], peak32, "56, 65 %");
        batched::<f32>(level, lstm, [100, 64, 64, 64], peak32, "84, 84 %");
        batched::<f32>(level, lstm, [100, 64, 64, 128], peak32, "89, 85 %");
        batched::<f32>(level, lstm, [100, 64, 128, 256], peak32, "89, 84 %");
        batched::<f32>(level, lstm, [50, 128, 256, 512], peak32, "85, 76–84 %");
        batched::<f32>(level, gru, [100, 64, 64, 128], peak32, "");
        batched::<f32>(level, rnn, [100, 64, 64, 128], peak32, "");
        batched::<f32>(level, lstm, [100, 1, 1, 16], peak32, "");
        batched::<f32>(level, lstm, [100, 1, 32, 32], peak32, "");
        batched::<f32>(level, lstm, [100, 1, 64, 128], peak32, "");
        batched::<f64>(level, lstm, [50, 32, 64, 64], peak64, "");
    }
}
