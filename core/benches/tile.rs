//! The products that everything else is made of, and batched passes, at every level by name. An item is a
//! floating-point operation: `Gitem/s` reads GFLOP/s.
//!
//! `cargo bench --bench tile [-- filter]`. For the share of the machine's own limit, see `speed.rs`.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use unrolled::internals::{Extent, Lhs, Product, Rhs, Start, Strides, chains};
use unrolled::network::{Input, Losses, Network, Recording, View};
use unrolled::simd::{Element, Isa, Kernel, Level, Simd};
use unrolled::{Activation, CellKind, Config};

fn main() {
    #[cfg(feature = "rayon")]
    unrolled::batch::set_num_threads(1);
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

/// out(r, unit, gate) = Σ_k left(r, k) · right(k, unit, gate). Where `PACKED`, the right operand is packed weights;
/// else it is rows as they come, and rows are what is summed over (δ xᵀ).
struct Plain<'a, const GATES: usize, const PACKED: bool> {
    rows: usize,
    units: usize,
    k: usize,
    chains: usize,
    left: &'a [f32],
    right: &'a [f32],
    out: &'a mut [f32],
}

impl<const GATES: usize, const PACKED: bool> Kernel<f32> for Plain<'_, GATES, PACKED> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<f32>>(self, s: S) {
        let Self { rows, units, k, chains, left, right, out } = self;
        let width = GATES * units;
        let (lhs, rhs, start) = if PACKED {
            let (step, gate) = (GATES * S::LANES, S::LANES);
            let lhs = Lhs { data: left, row: k, step: 1, segment: 0 };
            (lhs, Rhs { data: right, step, tile: k * step, gate }, Start::Zero)
        } else {
            let lhs = Lhs { data: left, row: 1, step: rows, segment: 0 };
            (lhs, Rhs { data: right, step: width, tile: S::LANES, gate: units }, Start::Added)
        };
        let extent = Extent { segments: 1, steps: k };
        let strides = Strides { row: width, tile: S::LANES, gate: units };
        Product::<f32, GATES, PACKED> {
            rows,
            units,
            lhs,
            rhs,
            extent,
            chains,
            start,
            turn: false,
            out,
            strides,
        }
        .run(s);
    }
}

fn product<const GATES: usize, const PACKED: bool>(
    bencher: Bencher<'_, '_>,
    isa: Isa,
    [rows, k, units]: [usize; 3],
) {
    let level = Level::get(isa).unwrap();
    let left = vec![0.5; rows * k];
    let right = vec![0.25; k * units * GATES];
    let mut out = vec![0.0; rows * units * GATES];
    let chains = if PACKED { chains::<f32>(units, GATES) } else { 1 };
    bencher.counter(ItemsCount::new(2 * rows * k * units * GATES)).bench_local(|| {
        let (left, right, out) = (black_box(&*left), black_box(&*right), &mut *out);
        let kernel = Plain::<GATES, PACKED> { rows, units, k, chains, left, right, out };
        f32::dispatch(level, kernel);
    });
}

macro_rules! products {
    ($($(#[$doc:meta])* $name:ident $gates:literal, $sizes:expr, $packed:literal);* $(;)?) => {
        $(
            $(#[$doc])*
            #[divan::bench(args = super::levels())]
            fn $name(bencher: Bencher<'_, '_>, isa: Isa) {
                super::product::<$gates, $packed>(bencher, isa, $sizes);
            }
        )*
    };
}

/// W x and W h: rows, inputs, units; gates as the cell has them.
mod weights_by_x {
    use super::*;
    products!(
        lstm_1_row_16_16 4, [1, 16, 16], true;
        lstm_1_row_128_128 4, [1, 128, 128], true;
        lstm_32_rows_32_32 4, [32, 32, 32], true;
        lstm_64_rows_128_128 4, [64, 128, 128], true;
        gru_64_rows_128_128 3, [64, 128, 128], true;
        rnn_64_rows_128_128 1, [64, 128, 128], true;
    );
}

/// Wᵀ δ: rows, gates and units to sum over, inputs.
mod transposed_by_delta {
    use super::*;
    products!(
        rows_1_128_to_32 1, [1, 128, 32], true;
        rows_32_128_to_32 1, [32, 128, 32], true;
        rows_64_512_to_128 1, [64, 512, 128], true;
    );
}

/// δ xᵀ: inputs, rows to sum over, units.
mod delta_by_x {
    use super::*;
    products!(
        lstm_16_rows_256_32 4, [16, 256, 32], false;
        lstm_128_rows_256_128 4, [128, 256, 128], false;
        gru_128_rows_256_128 3, [128, 256, 128], false;
        rnn_128_rows_256_128 1, [128, 256, 128], false;
    );
}

/// Passes of a whole net: steps, rows, inputs, units.
mod passes {
    use super::*;

    const LSTM: CellKind = CellKind::Lstm { forget_gate: true };
    const GRU: CellKind = CellKind::Gru { reset_after: true };
    const RNN: CellKind = CellKind::Rnn(Activation::Tanh);

    fn pass(
        bencher: Bencher<'_, '_>,
        isa: Isa,
        kind: CellKind,
        [steps, batch, inputs, units]: [usize; 4],
        backward: bool,
    ) {
        let level = Level::get(isa).unwrap();
        let mut net = Network::<f32>::new(Config::new(kind, inputs, units), level).unwrap();
        net.update(|parameters| {
            parameters.fill(0.01);
            Ok::<(), unrolled::Error>(())
        })
        .unwrap();
        let x = vec![0.3; steps * batch * inputs];
        let d_y = vec![0.1; steps * batch * units];
        let x = View::time_major(&x, batch, inputs);
        let input = Input { x, steps, batch, states: None, lengths: None, resets: None };
        let losses = Losses { y: View::time_major(&d_y, batch, units), states: None };
        let once = 2 * steps * batch * kind.gates().len() * units * (inputs + units);
        let flops = if backward { 3 * once } else { once };
        bencher.counter(ItemsCount::new(flops)).bench_local(|| {
            if backward {
                let (_, tape) = net.record(&input, Recording::default(), None).unwrap();
                black_box(net.backward(&tape, &losses, None, None).unwrap());
            } else {
                black_box(net.forward(&input, None).unwrap());
            }
        });
    }

    macro_rules! passes {
        ($($name:ident $kind:expr, $sizes:expr, $backward:literal);* $(;)?) => {
            $(
                #[divan::bench(args = super::levels())]
                fn $name(bencher: Bencher<'_, '_>, isa: Isa) {
                    pass(bencher, isa, $kind, $sizes, $backward);
                }
            )*
        };
    }
    passes!(
        lstm_100_32_16_32_forward LSTM, [100, 32, 16, 32], false;
        lstm_100_32_16_32_both LSTM, [100, 32, 16, 32], true;
        lstm_100_64_64_128_forward LSTM, [100, 64, 64, 128], false;
        lstm_100_64_64_128_both LSTM, [100, 64, 64, 128], true;
        gru_100_64_64_128_both GRU, [100, 64, 64, 128], true;
        rnn_100_64_64_128_both RNN, [100, 64, 64, 128], true;
        lstm_100_1_32_32_both LSTM, [100, 1, 32, 32], true;
    );
}
