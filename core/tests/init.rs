//! Random numbers and first values: bounds, moments, orthogonality, and that a seed says all.

#[allow(dead_code)] // the other tests use the rest
#[path = "common/tolerance.rs"]
mod tolerance;

use unrolled::error::Error;
use unrolled::gates::{Activation, CellKind, Config, Role};
use unrolled::real::Real;
use unrolled::rng::{Rng, bits_at, derive, uniform_at};
use unrolled::simd::{Element, Isa, Level};
use unrolled::train::{Init, initialise, orthogonal, uniform, xavier_uniform};

const LSTM: CellKind = CellKind::Lstm { forget_gate: true };
const INITS: [Init; 3] = [Init::Uniform, Init::Orthogonal, Init::Xavier];

/// Mean and variance.
fn moments(x: &[f64]) -> (f64, f64) {
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    (mean, x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / x.len() as f64)
}

/// Within five standard errors: fails for a sound generator once in a million seeds.
fn near(found: f64, expected: f64, deviation: f64, n: usize) {
    let error = (found - expected).abs() / (deviation / (n as f64).sqrt());
    assert!(error < 5.0, "{found} where {expected} was expected: {error} standard errors");
}

#[test]
fn uniform_numbers_are_uniform() {
    const N: usize = 100_000;
    // Along a stream, across neighbouring seeds, and across derived ones.
    let draws: [fn(u64) -> f64; 4] = [
        |i| uniform_at(0, i),
        |i| uniform_at(i, 0),
        |i| uniform_at(derive(1, i), 3),
        |i| uniform_at(derive(derive(1, i / 100), i % 100), i),
    ];
    for draw in draws {
        let x: Vec<f64> = (0..N as u64).map(draw).collect();
        assert!(x.iter().all(|x| (0.0..1.0).contains(x)));
        let (mean, variance) = moments(&x);
        near(mean, 0.5, (1.0_f64 / 12.0).sqrt(), N);
        near(variance, 1.0 / 12.0, (1.0_f64 / 180.0).sqrt(), N);
        let neighbours: f64 = x.windows(2).map(|w| (w[0] - 0.5) * (w[1] - 0.5)).sum();
        near(neighbours / N as f64, 0.0, 1.0 / 12.0, N);
        // χ² with 255 degrees of freedom has mean 255 and variance 510.
        let mut bins = [0.0; 256];
        x.iter().for_each(|x| bins[(x * 256.0) as usize] += 1.0);
        let expected = N as f64 / 256.0;
        let chi2: f64 = bins.iter().map(|n| (n - expected) * (n - expected) / expected).sum();
        near(chi2, 255.0, 510_f64.sqrt(), 1);
    }
}

#[test]
fn every_bit_is_fair() {
    const N: u64 = 20_000;
    for bit in 0..64 {
        let ones = (0..N).filter(|&i| bits_at(9, i) >> bit & 1 == 1).count();
        near(ones as f64 / N as f64, 0.5, 0.5, N as usize);
    }
}

#[test]
fn normal_numbers_are_normal() {
    const N: usize = 100_000;
    let mut rng = Rng::new(3);
    let x: Vec<f64> = (0..N).map(|_| rng.normal()).collect();
    let (mean, variance) = moments(&x);
    near(mean, 0.0, 1.0, N);
    near(variance, 1.0, 2_f64.sqrt(), N);
    let fourth = x.iter().map(|x| x.powi(4)).sum::<f64>() / N as f64;
    near(fourth, 3.0, 96_f64.sqrt(), N);
    let within_one = x.iter().filter(|x| x.abs() < 1.0).count() as f64 / N as f64;
    near(within_one, 0.682_689_492, 0.465_4, N);
}

#[test]
fn a_stream_is_its_numbers_by_counter() {
    let mut rng = Rng::new(11);
    assert!((0..100).all(|i| rng.uniform() == uniform_at(11, i)));
    // The numbers are part of what a seed means: they may not change between versions.
    assert_eq!(bits_at(0, 0), 0xa706_dd2f_4d19_7e6f);
    assert_eq!(derive(0, 0), 0x5dc2_0aa7_b2a2_7137);
}

/// The largest |entry| of V Vᵀ − gain² for the `count` vectors `vector(i)`.
fn worst<T: Real>(count: usize, length: usize, gain: f64, at: impl Fn(usize, usize) -> T) -> f64 {
    let mut worst = 0_f64;
    for i in 0..count {
        for j in 0..=i {
            let dot: f64 = (0..length).map(|k| at(i, k).to_f64() * at(j, k).to_f64()).sum();
            worst = worst.max((dot - if i == j { gain * gain } else { 0.0 }).abs());
        }
    }
    worst
}

fn orthogonal_matrices<T: Element>() {
    let shapes = [(1, 1), (1, 5), (5, 1), (3, 3), (7, 20), (20, 7), (64, 64), (33, 100), (100, 33)];
    for (rows, columns) in shapes {
        for (seed, gain) in [(0, 1.0), (1, 1.5)] {
            let mut x = vec![T::from_f64(f64::NAN); rows * columns];
            orthogonal(rows, columns, gain, &mut Rng::new(seed), &mut x).unwrap();
            let error = if rows <= columns {
                worst(rows, columns, gain, |i, k| x[i * columns + k])
            } else {
                worst(columns, rows, gain, |i, k| x[k * columns + i])
            };
            assert!(error < tolerance::orthonormal::<T>(), "{rows} × {columns}: {error}");
        }
    }
}

#[test]
fn orthogonal_matrices_are() {
    orthogonal_matrices::<f64>();
    orthogonal_matrices::<f32>();
}

#[test]
fn orthogonal_matrices_are_spread_evenly() {
    // Entries of a uniform orthogonal 3 × 3 matrix: mean 0, mean square 1/3, and a trace
    // of mean 0 and variance 1. Without the positive diagonal the trace would betray it.
    const N: usize = 20_000;
    let mut rng = Rng::new(5);
    let (mut corners, mut traces) = (vec![], vec![]);
    for _ in 0..N {
        let mut x = [0_f64; 9];
        orthogonal(3, 3, 1.0, &mut rng, &mut x).unwrap();
        corners.push(x[0]);
        traces.push(x[0] + x[4] + x[8]);
    }
    let (mean, variance) = moments(&corners);
    near(mean, 0.0, (1.0_f64 / 3.0).sqrt(), N);
    near(variance, 1.0 / 3.0, 0.3, N);
    let (mean, variance) = moments(&traces);
    near(mean, 0.0, 1.0, N);
    near(variance, 1.0, 2_f64.sqrt(), N);
}

#[test]
fn bounded_fills_reach_their_bounds() {
    const N: usize = 40_000;
    let mut x = vec![0_f64; N];
    for bound in [0.25, (6.0_f64 / 400.0).sqrt() * 2.0] {
        if bound == 0.25 {
            uniform(bound, &mut Rng::new(1), &mut x);
        } else {
            xavier_uniform(200, 200, 2.0, &mut Rng::new(1), &mut x).unwrap();
        }
        let (mean, variance) = moments(&x);
        let deviation = bound / 3_f64.sqrt();
        near(mean, 0.0, deviation, N);
        near(variance, deviation * deviation, bound * bound * (4.0_f64 / 45.0).sqrt(), N);
        let largest = x.iter().fold(0_f64, |most, x| most.max(x.abs()));
        assert!(largest <= bound && largest > 0.999 * bound);
    }
    let wrong = Err(Error::Length { argument: "matrix", expected: 6, got: 5 });
    assert_eq!(xavier_uniform(2, 3, 1.0, &mut Rng::new(1), &mut [0.0; 5]), wrong);
    assert_eq!(orthogonal(2, 3, 1.0, &mut Rng::new(1), &mut [0.0; 5]), wrong);
}

fn filled<T: Element>(config: &Config, init: Init, forget_bias: f64, seed: u64) -> Vec<T> {
    let mut parameters = vec![T::from_f64(f64::NAN); config.num_parameters()];
    initialise(config, init, forget_bias, seed, &mut parameters).unwrap();
    assert!(parameters.iter().all(|x| x.is_finite()));
    parameters
}

/// Calls `look` with each parameter's role, rows, columns and values.
fn each(config: &Config, values: &[f64], mut look: impl FnMut(Role, usize, usize, &[f64])) {
    let mut at = 0;
    for p in config.parameters() {
        look(p.role, p.rows, p.columns, &values[at..at + p.len()]);
        at += p.len();
    }
    assert_eq!(at, values.len());
}

#[test]
fn each_role_gets_what_the_table_says() {
    for kind in [LSTM, CellKind::Gru { reset_after: true }, CellKind::Rnn(Activation::Tanh)] {
        let config = Config {
            num_layers: 2,
            bidirectional: true,
            proj_size: if kind == LSTM { 6 } else { 0 },
            ..Config::new(kind, 5, 16)
        };
        let within = |x: &[f64], bound: f64| {
            let largest = x.iter().fold(0_f64, |most, x| most.max(x.abs()));
            assert!(largest <= bound && largest > 0.5 * bound, "{largest} {bound}");
        };
        let xavier = |x: &[f64], rows: usize, columns: usize| {
            x.chunks(rows * columns)
                .for_each(|x| within(x, (6.0 / (rows + columns) as f64).sqrt()));
        };
        let turning = |x: &[f64], rows: usize, columns: usize| {
            for x in x.chunks(rows * columns) {
                let error = if rows <= columns {
                    worst(rows, columns, 1.0, |i, k| x[i * columns + k])
                } else {
                    worst(columns, rows, 1.0, |i, k| x[k * columns + i])
                };
                assert!(error < tolerance::orthonormal::<f64>());
            }
        };
        for init in INITS {
            let values = filled(&config, init, 0.0, 8);
            each(&config, &values, |role, rows, columns, x| {
                let rows = if role == Role::WeightHr { rows } else { 16 };
                match (init, role) {
                    (Init::Uniform, _) => within(x, 0.25),
                    (_, Role::BiasIh | Role::BiasHh) => assert!(x.iter().all(|&x| x == 0.0)),
                    (Init::Xavier, _) | (_, Role::WeightIh) => xavier(x, rows, columns),
                    (Init::Orthogonal, _) => turning(x, rows, columns),
                }
            });
        }
    }
}

#[test]
fn the_forget_bias_is_added_to_its_rows_once() {
    let config = Config { num_layers: 2, ..Config::new(LSTM, 3, 4) };
    for init in INITS {
        let (plain, biased): (Vec<f64>, _) =
            (filled(&config, init, 0.0, 1), filled::<f64>(&config, init, 1.5, 1));
        let added: Vec<f64> = biased.iter().zip(&plain).map(|(b, p)| b - p).collect();
        each(&config, &added, |role, _, _, x| {
            for (i, &x) in x.iter().enumerate() {
                let there = role == Role::BiasIh && i / 4 == 1;
                assert!((x - if there { 1.5 } else { 0.0 }).abs() < 1e-15);
            }
        });
    }
}

#[test]
fn a_seed_says_all() {
    let config = Config { num_layers: 2, bidirectional: true, ..Config::new(LSTM, 3, 8) };
    for init in INITS {
        let first: Vec<f64> = filled(&config, init, 0.0, 1);
        assert_eq!(first, filled::<f64>(&config, init, 0.0, 1));
        assert_ne!(first, filled::<f64>(&config, init, 0.0, 2));

        // One layer fewer: the same start. No biases: the same weights.
        let one = Config { num_layers: 1, ..config };
        let n = one.num_parameters();
        assert_eq!(first[..n], filled::<f64>(&one, init, 0.0, 1));
        let mut weights = vec![];
        each(&config, &first, |role, _, _, x| {
            if !matches!(role, Role::BiasIh | Role::BiasHh) {
                weights.extend_from_slice(x);
            }
        });
        assert_eq!(weights, filled::<f64>(&Config { bias: false, ..config }, init, 0.0, 1));

        // No two parameters share their numbers.
        weights.sort_by(f64::total_cmp);
        assert!(weights.windows(2).all(|w| w[0] != w[1]));
    }
}

/// The limit belongs to the process: the other tests here must not care, and do not.
#[test]
fn levels_give_the_same_values() {
    let config = Config { proj_size: 21, ..Config::new(LSTM, 7, 50) };
    let mut first: Option<Vec<f32>> = None;
    for isa in Isa::ALL {
        if Level::get(isa).is_none() {
            println!("{isa}: not run, this machine has no such level");
            continue;
        }
        Level::set_limit(isa);
        let values = filled(&config, Init::Orthogonal, 1.0, 4);
        assert_eq!(first.get_or_insert_with(|| values.clone()), &values, "{isa}");
    }
    Level::set_limit(Isa::Avx512);
}

#[test]
fn what_does_not_fit_is_refused() {
    let config = Config::new(LSTM, 3, 4);
    let n = config.num_parameters();
    let mut x = vec![7_f32; n];
    assert_eq!(
        initialise(&config, Init::Uniform, 0.0, 0, &mut x[1..]),
        Err(Error::Length { argument: "parameters", expected: n, got: n - 1 })
    );
    let refused = |config: &Config, forget_bias| {
        let mut x = vec![7_f32; config.num_parameters()];
        let result = initialise(config, Init::Uniform, forget_bias, 0, &mut x);
        assert!(matches!(result, Err(Error::Invalid { argument: "forget_bias", .. })));
        assert!(x.iter().all(|&x| x == 7.0));
    };
    refused(&config, f64::NAN);
    refused(&Config { bias: false, ..config }, 1.0);
    refused(&Config { kind: CellKind::Gru { reset_after: true }, ..config }, 1.0);
    refused(&Config { kind: CellKind::Lstm { forget_gate: false }, ..config }, 1.0);
    // Nothing to fill is no error.
    let empty = Config::new(LSTM, 0, 4);
    for init in INITS {
        filled::<f64>(&empty, init, 1.0, 0);
    }
}
