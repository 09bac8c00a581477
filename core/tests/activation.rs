//! Activations on every level, and the read-out of fixed size, held against their run-time fellows.

use unrolled::Passes;
use unrolled::activation::Function;
use unrolled::dense::Dense;
use unrolled::fixed;
use unrolled::rng::Rng;
use unrolled::simd::{Isa, Level};

const FUNCTIONS: [Function; 9] = [
    Function::Tanh,
    Function::Relu,
    Function::Sigmoid,
    Function::Softmax,
    Function::Elu { alpha: 0.7 },
    Function::LeakyRelu { alpha: 0.3 },
    Function::HardSigmoid { alpha: 0.2, beta: 0.4 },
    Function::Softsign,
    Function::Silu,
];
const ROW: usize = 21;

fn random<T: Passes>(n: usize, seed: u64) -> Vec<T> {
    let mut rng = Rng::new(seed);
    (0..n).map(|_| T::from_f64(8.0 * rng.uniform() - 4.0)).collect()
}

/// Bits of every value, forward and back, of rows and of each row alone.
fn levels_agree<T: Passes>() {
    for function in FUNCTIONS {
        let x = random::<T>(3 * ROW, 1);
        let mut seen: Vec<(Vec<T>, Vec<T>)> = Vec::new();
        for level in Level::available().filter(|level| level.isa() != Isa::Portable) {
            let (mut y, mut d) = (x.clone(), random::<T>(3 * ROW, 2));
            function.apply(level, &mut y, ROW);
            let mut alone = x.clone();
            for row in alone.chunks_mut(ROW) {
                function.apply(level, row, ROW);
            }
            assert_eq!(alone, y, "{function:?} on {level:?}");
            function.backward(level, &x, &y, &mut d, ROW);
            seen.push((y, d));
        }
        assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{function:?}");
    }
}

#[test]
fn levels_that_fuse_give_the_same_bits() {
    levels_agree::<f32>();
    levels_agree::<f64>();
}

#[test]
fn rows_that_are_not_whole_are_left() {
    let level = Level::best();
    let mut values = [1.0f32, 2.0, 3.0];
    Function::Softmax.apply(level, &mut values, 2);
    assert_eq!(values[2], 3.0);
    assert!((values[0] + values[1] - 1.0).abs() < 1e-6);
    for function in FUNCTIONS {
        function.apply(level, &mut values, 0);
        function.apply::<f32>(level, &mut [], 4);
        function.backward(level, &[1.0, 2.0], &[1.0], &mut values, 0);
    }
}

fn read_out<T: Passes, const I: usize, const O: usize>() {
    let (w, b, x) = (random::<T>(I * O, 3), random::<T>(O, 4), random::<T>(I, 5));
    let mut dense = Dense::new(I, O, true, Level::best()).unwrap();
    dense
        .update(|parameters| {
            parameters[..I * O].copy_from_slice(&w);
            parameters[I * O..].copy_from_slice(&b);
            Ok::<(), unrolled::Error>(())
        })
        .unwrap();
    let fixed = fixed::Dense::<T, I, O>::new(
        core::array::from_fn(|o| core::array::from_fn(|i| w[o * I + i])),
        core::array::from_fn(|o| b[o]),
    );
    let x: [T; I] = core::array::from_fn(|i| x[i]);
    assert_eq!(fixed.forward(&x).as_slice(), dense.forward(&x).unwrap(), "{I} inputs, {O} outputs");
}

#[test]
fn a_fixed_read_out_is_the_dense_layer() {
    read_out::<f32, 1, 1>();
    read_out::<f32, 40, 1>();
    read_out::<f32, 7, 16>();
    read_out::<f32, 3, 65>();
    read_out::<f64, 5, 3>();
    read_out::<f64, 16, 33>();
}
