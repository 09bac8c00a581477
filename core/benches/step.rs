//! The streaming step of cells of fixed size, and of a run-time net's stream, at every level by name.
//!
//! `cargo bench --bench step [-- filter]`, where the filter is a name or part of one: `lstm`, `gru_1_16`.
//! `speed.rs` sets times beside the machine's own limit; this one takes single cases and many samples.

use divan::{Bencher, black_box};
use unrolled::cell::Cell;
use unrolled::fixed::{Fixed, Parameters};
use unrolled::math::{Accurate, Fast, Math};
use unrolled::rng::Rng;
use unrolled::simd::{Isa, Level};
use unrolled::{Activation, CellKind, Config, Gru, Lstm, Network, Rnn};

fn main() {
    for isa in Isa::ALL {
        if Level::get(isa).is_none() {
            println!("{isa}: not run, this machine lacks it");
        }
    }
    divan::main();
}

fn levels() -> impl Iterator<Item = Isa> {
    Level::available().map(Level::isa)
}

fn step<M: Math, C: Cell, const I: usize, const H: usize>(
    bencher: Bencher<'_, '_>,
    isa: Isa,
    math: M,
    make: fn(&Parameters<C, f32, I, H>) -> Fixed<C, f32, I, H>,
) {
    Level::set_limit(isa);
    let mut parameters = Parameters::zeros();
    let mut rng = Rng::new(1);
    for own in parameters.slices_mut() {
        own.iter_mut().for_each(|v| *v = ((rng.uniform() - 0.5) / (H as f64).sqrt()) as f32);
    }
    let cell = make(&parameters);
    let mut state = cell.zero_state();
    bencher.bench_local(|| {
        black_box(cell.step_with(math, black_box(&[0.3; I]), &mut state));
    });
}

macro_rules! steps {
    ($math:expr, $($name:ident $cell:ty),* $(,)?) => {
        $(
            #[divan::bench(args = super::levels())]
            fn $name(bencher: Bencher<'_, '_>, isa: Isa) {
                super::step(bencher, isa, $math, <$cell>::from_parameters);
            }
        )*
    };
}

mod accurate {
    use super::*;
    steps!(
        Accurate,
        lstm_1_8 Lstm<f32, 1, 8>,
        lstm_1_16 Lstm<f32, 1, 16>,
        lstm_1_32 Lstm<f32, 1, 32>,
        lstm_1_64 Lstm<f32, 1, 64>,
        lstm_32_32 Lstm<f32, 32, 32>,
        lstm_64_128 Lstm<f32, 64, 128>,
        gru_1_16 Gru<f32, 1, 16>,
        gru_1_64 Gru<f32, 1, 64>,
        rnn_1_16 Rnn<f32, 1, 16>,
        rnn_1_64 Rnn<f32, 1, 64>,
    );
}

mod fast {
    use super::*;
    steps!(
        Fast,
        lstm_1_16 Lstm<f32, 1, 16>,
        lstm_1_32 Lstm<f32, 1, 32>,
        gru_1_16 Gru<f32, 1, 16>,
    );
}

/// Sizes known at run time: the same step through `Network::stream`.
mod run_time {
    use super::*;

    fn stream(bencher: Bencher<'_, '_>, isa: Isa, kind: CellKind, inputs: usize, units: usize) {
        let level = Level::get(isa).unwrap();
        let mut net = Network::<f32>::new(Config::new(kind, inputs, units), level).unwrap();
        net.update(|parameters| {
            parameters.fill(0.01);
            Ok::<(), unrolled::Error>(())
        })
        .unwrap();
        let mut stream = net.stream(1).unwrap();
        let (x, mut y) = (vec![0.3; inputs], vec![0.0; units]);
        bencher.bench_local(|| net.step(&mut stream, black_box(&x), black_box(&mut y)).unwrap());
    }

    macro_rules! streams {
        ($($name:ident $kind:expr, $inputs:literal, $units:literal);* $(;)?) => {
            $(
                #[divan::bench(args = super::levels())]
                fn $name(bencher: Bencher<'_, '_>, isa: Isa) {
                    stream(bencher, isa, $kind, $inputs, $units);
                }
            )*
        };
    }
    streams!(
        lstm_1_16 CellKind::Lstm { forget_gate: true }, 1, 16;
        lstm_32_32 CellKind::Lstm { forget_gate: true }, 32, 32;
        gru_1_16 CellKind::Gru { reset_after: true }, 1, 16;
        rnn_1_16 CellKind::Rnn(Activation::Tanh), 1, 16;
    );
}
