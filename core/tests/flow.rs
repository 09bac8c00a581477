//! Gradient flow against the plain reference, against finite differences of it, and against what must hold.

mod common;
#[path = "common/nets.rs"]
mod nets;

use common::tolerance::{DIFFERENCE, DIFFERENCE_STEP, LONG_F32, REORDERED};
use common::{CELLS, Case, Shape, assert_close, assert_within, dot, problems, stackings};
use nets::{Arrays, back, cast, fusing, levels};
use proptest::prelude::*;
use unrolled::Passes;
use unrolled::error::Error;
use unrolled::flow::{LagGradients, Terms};
use unrolled::gates::{Activation, CellKind, Config};
use unrolled::network::{Network, Recording, View};
use unrolled::reference;
use unrolled::simd::Level;
use unrolled::tape::Tape;

const PLAIN: Recording = Recording { checkpoint: None, dropout: None };

fn record<T: Passes>(case: &Case, level: Level) -> (Arrays<T>, Network<T>, Tape<T>) {
    let arrays = Arrays::<T>::new(case.clone());
    let net = arrays.net(level);
    let (_, tape) = net.record(&arrays.input(), PLAIN, None).unwrap();
    (arrays, net, tape)
}

/// Values of the state.
fn state(config: &Config) -> usize {
    let c = if config.kind.states() > 1 { config.hidden_size } else { 0 };
    config.state_size() + c
}

/// Small nets of every kind.
fn nets_of_one_layer() -> impl Iterator<Item = Config> {
    CELLS.into_iter().map(|(kind, projected)| Config {
        proj_size: if projected { 3 } else { 0 },
        ..Config::new(kind, 2, 5)
    })
}

fn by_lag<T: Passes>(
    arrays: &Arrays<T>,
    net: &Network<T>,
    tape: &Tape<T>,
    parameter: usize,
    terms: Terms<'_>,
) -> LagGradients<T> {
    let Case { config, batch, .. } = arrays.case;
    let d_y = View::time_major(&arrays.dy, batch, config.output_size());
    net.gradient_by_lag(tape, d_y, parameter, terms, None).unwrap()
}

/// Without a loss at the final state.
fn by_outputs(shape: &Shape) -> Case {
    let mut case = shape.case();
    case.dh.fill(0.0);
    case.dc.fill(0.0);
    case
}

/// The state after one plain step.
fn plain_step(case: &Case, x: &[f64], s: &[f64]) -> Vec<f64> {
    let (h0, c0) = s.split_at(case.config.state_size());
    let problem = reference::Problem {
        steps: 1,
        batch: 1,
        x,
        h0,
        c0,
        lengths: None,
        resets: None,
        ..case.problem()
    };
    let r = reference::forward(&problem);
    [r.h, r.c].concat()
}

#[test]
fn step_jacobians_are_the_slopes_of_the_plain_step() {
    for config in nets_of_one_layer() {
        let (steps, s) = (4, state(&config));
        let case = Shape::new(config, steps, 1, 5).case();
        for level in levels() {
            let (_, net, tape) = record::<f64>(&case, level);
            let found = net.step_jacobians(&tape, 0, None).unwrap();
            let mut now = [&case.h0[..], &case.c0].concat();
            for (x, found) in case.x.chunks(2).zip(found.chunks(s * s)) {
                for j in 0..s {
                    let at = |step: f64| {
                        let mut moved = now.clone();
                        moved[j] += step;
                        plain_step(&case, x, &moved)
                    };
                    let (less, more) = (at(-DIFFERENCE_STEP), at(DIFFERENCE_STEP));
                    let slopes =
                        less.iter().zip(&more).map(|(a, b)| (b - a) / (2.0 * DIFFERENCE_STEP));
                    let column: Vec<f64> = found.iter().skip(j).step_by(s).copied().collect();
                    let slopes: Vec<f64> = slopes.collect();
                    assert_within(
                        &format!("{config:?} {level:?} column {j}"),
                        &column,
                        &slopes,
                        DIFFERENCE,
                    );
                }
                now = plain_step(&case, x, &now);
            }
        }
    }
}

/// A term is what truncation at its lag has more than truncation one lag earlier.
#[test]
fn terms_are_the_plain_gradients_lag_by_lag() {
    for config in nets_of_one_layer() {
        for bidirectional in [false, true] {
            let config = Config { bidirectional, ..config };
            let (steps, batch) = (5, 3);
            let mut shape = Shape::new(config, steps, batch, 8);
            shape.lengths = Some(vec![5, 0, 4]);
            shape.resets = Some((0..15).map(|at| at == 7 || at == 8).collect());
            let case = by_outputs(&shape);
            let (arrays, net, tape) = record::<f64>(&case, Level::best());
            let r = reference::forward(&case.problem());
            let (row, out) = (batch * config.output_size(), case.dy.len());
            let plain = |t: usize, lags: Option<usize>| {
                let Some(lags) = lags else { return vec![0.0; case.parameters.len()] };
                let mut dy = vec![0.0; out];
                dy[t * row..(t + 1) * row].copy_from_slice(&case.dy[t * row..(t + 1) * row]);
                reference::backward(&case.problem(), &r, &dy, &case.dh, &case.dc, Some(lags))
                    .parameters
            };
            let mut first = 0;
            for (i, parameter) in config.parameters().enumerate() {
                let own = first..first + parameter.len();
                first = own.end;
                let g = by_lag(&arrays, &net, &tape, i, Terms::All);
                for (at, term) in g.terms.chunks(parameter.len()).enumerate() {
                    let (t, k) = (at / steps, at % steps);
                    let back = if parameter.reverse { k.checked_sub(t) } else { t.checked_sub(k) };
                    let mut expected = vec![0.0; parameter.len()];
                    if let Some(lag) = back {
                        let (with, without) = (plain(t, Some(lag)), plain(t, lag.checked_sub(1)));
                        for (at, to) in own.clone().zip(&mut expected) {
                            *to = with[at] - without[at];
                        }
                    }
                    let what = format!("{parameter} ({t}, {k}) of {config:?}");
                    assert_within(&what, term, &expected, REORDERED);
                    assert_within(&what, &[g.norms[at]], &[dot(term, term).sqrt()], REORDERED);
                }
            }
        }
    }
}

/// All terms, and the norms of each lag's sum, in any net.
fn judge_sum(case: &Case) {
    let (arrays, net, tape) = record::<f64>(case, Level::best());
    let d = net.backward(&tape, &arrays.losses(), None, None).unwrap();
    let (steps, mut first) = (case.steps, 0);
    for (i, parameter) in case.config.parameters().enumerate() {
        let len = parameter.len();
        let g = by_lag(&arrays, &net, &tape, i, Terms::All);
        let mut lags = vec![0.0; steps * len];
        let mut whole = vec![0.0; len];
        for (at, term) in g.terms.chunks(len).enumerate() {
            let lag = (at / steps).abs_diff(at % steps);
            for (u, &value) in term.iter().enumerate() {
                lags[lag * len + u] += value;
                whole[u] += value;
            }
            let largest = g.norms.iter().fold(0.0, |a: f64, b| a.max(*b));
            let norm = dot(term, term).sqrt();
            assert_within("norm", &[g.norms[at]], &[norm], REORDERED * largest);
        }
        let expected = &d.parameters[first..first + len];
        first += len;
        assert_close(&format!("{parameter} of {:?}", case.config), &whole, expected, REORDERED);
        let norms: Vec<f64> = lags.chunks(len).map(|sum| dot(sum, sum).sqrt()).collect();
        assert_close("by lag", &g.by_lag, &norms, REORDERED);
    }
}

#[test]
fn terms_add_up_to_the_gradient_in_every_stacking() {
    for net in nets_of_one_layer() {
        for config in stackings(net) {
            let mut shape =
                Shape::new(Config { num_layers: config.num_layers + 1, ..config }, 5, 3, 2);
            judge_sum(&by_outputs(&shape));
            shape.lengths = Some(vec![4, 0, 5]);
            shape.resets = Some((0..15).map(|at| at % 4 == 2).collect());
            judge_sum(&by_outputs(&shape));
        }
    }
}

#[test]
fn terms_add_up_over_many_rows_and_steps() {
    for (bidirectional, num_layers) in [(false, 1), (false, 2), (true, 2)] {
        let kind = CellKind::Gru { reset_after: true };
        let config = Config { bidirectional, num_layers, ..Config::new(kind, 2, 4) };
        for ragged in [false, true] {
            let mut shape = Shape::new(config, 24, 40, 4);
            shape.lengths = ragged.then(|| (0..40).map(|b| b * 7 % 25).collect());
            judge_sum(&by_outputs(&shape));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn terms_add_up_to_the_gradient(shape in problems()) {
        judge_sum(&by_outputs(&shape));
    }

    #[test]
    fn products_of_jacobians_pulled_back_and_pushed_forward(mut shape in problems(), t in 0_usize..12, k in 0_usize..12) {
        shape.steps = shape.steps.max(1);
        shape.lengths = shape.lengths.map(|l| l.into_iter().map(|l| l.min(shape.steps)).collect());
        shape.resets = shape.resets.filter(|r| r.len() == shape.steps * shape.batch);
        let (t, k) = (t % shape.steps, k % shape.steps);
        let case = shape.case();
        let (_, net, tape) = record::<f64>(&case, Level::best());
        let (s, batch) = (state(&case.config), case.batch);
        for cell in 0..case.config.num_layers * case.config.num_directions() {
            let reverse = case.config.bidirectional && cell % 2 == 1;
            let (t, k) = if reverse { (t.min(k), t.max(k)) } else { (t.max(k), t.min(k)) };
            let jacobians = net.step_jacobians(&tape, cell, None).unwrap();
            let product = net.transition(&tape, cell, (t, k), None).unwrap();
            let mut rng = common::Rng(shape.seed);
            let (v, u) = (rng.vector(2 * batch * s, 1.0), rng.vector(2 * batch * s, 1.0));
            let pulled = net.pull_back(&tape, cell, (t, k), &v, None).unwrap();
            let pushed = net.push_forward(&tape, cell, (t, k), &u, None).unwrap();
            for b in 0..batch {
                // Written out, the last step on the left.
                let mut expected = vec![0.0; s * s];
                if case.length(b) > t.max(k) {
                    (0..s).for_each(|i| expected[i * s + i] = 1.0);
                }
                let between: Vec<_> = if reverse { (t..k).collect() } else { (k + 1..=t).rev().collect() };
                for step in between {
                    let j = &jacobians[(step * batch + b) * s * s..][..s * s];
                    let times = |at: usize| (0..s).map(|m| expected[at / s * s + m] * j[m * s + at % s]).sum();
                    expected = (0..s * s).map(times).collect();
                }
                let found = &product[b * s * s..][..s * s];
                assert_close("transition", found, &expected, REORDERED);
                for i in 0..2 {
                    let row = |of: &[f64]| of[(i * batch + b) * s..][..s].to_vec();
                    let by_rows = |j: usize| (0..s).map(|m| row(&v)[m] * found[m * s + j]).sum();
                    let by_columns = |j: usize| dot(&found[j * s..][..s], &row(&u));
                    let (left, right): (Vec<f64>, Vec<f64>) =
                        ((0..s).map(by_rows).collect(), (0..s).map(by_columns).collect());
                    assert_close("vᵀJ", &row(&pulled), &left, REORDERED);
                    assert_close("J u", &row(&pushed), &right, REORDERED);
                }
            }
        }
    }

    #[test]
    fn levels_that_fuse_agree_to_the_last_bit(shape in problems()) {
        fn check<T: Passes>(case: &Case) {
            let all: Vec<_> = fusing().into_iter().map(|level| bits_of_everything::<T>(case, level)).collect();
            for pair in all.windows(2) {
                assert_eq!(pair[0], pair[1]);
            }
        }
        prop_assume!(shape.steps > 0);
        check::<f32>(&shape.case());
        check::<f64>(&shape.case());
    }
}

fn bits_of_everything<T: Passes>(case: &Case, level: Level) -> Vec<u64> {
    let (arrays, net, tape) = record::<T>(case, level);
    let (last, s) =
        (case.config.num_layers * case.config.num_directions() - 1, state(&case.config));
    let reverse = case.config.bidirectional;
    let pair = if reverse { (0, case.steps - 1) } else { (case.steps - 1, 0) };
    let v: Vec<T> = cast(&common::Rng(1).vector(case.batch * s, 1.0));
    let mut q = vec![0.0; case.batch * s];
    q.chunks_mut(s).for_each(|q| q[0] = 1.0);
    let mut out = net.lyapunov(&tape, last, &mut q, None).unwrap();
    out.extend(back(&net.step_jacobians(&tape, last, None).unwrap()));
    out.extend(net.transition(&tape, last, pair, None).unwrap());
    out.extend(back(&net.pull_back(&tape, last, pair, &v, None).unwrap()));
    out.extend(back(&net.push_forward(&tape, last, pair, &v, None).unwrap()));
    for parameter in 0..case.config.parameters().count() {
        let g = by_lag(&arrays, &net, &tape, parameter, Terms::Pairs(&[pair]));
        out.extend([g.norms, g.by_lag, back(&g.terms)].concat());
    }
    out.iter().chain(&q).map(|x| x.to_bits()).collect()
}

#[cfg(feature = "rayon")]
#[test]
fn the_number_of_threads_shows_in_no_bit() {
    use unrolled::batch::set_num_threads;
    let kind = CellKind::Lstm { forget_gate: true };
    for (bidirectional, num_layers, steps, batch) in [(false, 2, 90, 20), (true, 2, 30, 36)] {
        let config = Config { bidirectional, num_layers, ..Config::new(kind, 12, 24) };
        let mut shape = Shape::new(config, steps, batch, 3);
        shape.lengths = Some((0..batch).map(|b| 1 + b * 7 % steps).collect());
        let case = shape.case();
        set_num_threads(1);
        let one = bits_of_everything::<f32>(&case, Level::best());
        for threads in [2, 5] {
            set_num_threads(threads);
            assert_eq!(one, bits_of_everything::<f32>(&case, Level::best()), "{threads} threads");
        }
    }
    set_num_threads(0);
}

/// Layers by themselves, and the reverse direction as the other with time turned round.
#[test]
fn a_layer_of_a_stack_is_a_net_of_its_own() {
    for one in nets_of_one_layer() {
        let (steps, batch) = (6, 3);
        let config = Config { num_layers: 2, bidirectional: true, ..one };
        let case = Shape::new(config, steps, batch, 6).case();
        let (arrays, net, tape) = record::<f64>(&case, Level::best());
        let r = reference::forward(&case.problem());
        let s = state(&config);
        let mut first = 0;
        for cell in 0..4 {
            let (layer, reverse) = (cell / 2, cell % 2 == 1);
            let len: usize = config.layer_parameters(layer, reverse).map(|p| p.len()).sum();
            let alone = Config { input_size: config.layer_input_size(layer), ..one };
            let from = if layer == 0 { &case.x } else { &r.between[0] };
            let mut x: Vec<_> = from.chunks(batch * alone.input_size).collect();
            if reverse {
                x.reverse();
            }
            let (h, c) = (batch * config.state_size(), batch * config.hidden_size);
            let case = Case {
                config: alone,
                parameters: case.parameters[first..first + len].to_vec(),
                x: x.concat(),
                h0: case.h0[cell * h..(cell + 1) * h].to_vec(),
                c0: if case.c0.is_empty() {
                    vec![]
                } else {
                    case.c0[cell * c..(cell + 1) * c].to_vec()
                },
                ..case.clone()
            };
            first += len;
            let (_, single, single_tape) = record::<f64>(&case, Level::best());
            let expected = single.step_jacobians(&single_tape, 0, None).unwrap();
            let mut expected: Vec<_> = expected.chunks(batch * s * s).collect();
            if reverse {
                expected.reverse();
            }
            let found = net.step_jacobians(&tape, cell, None).unwrap();
            assert_close("Jacobians", &found, &expected.concat(), REORDERED);
        }
        drop(arrays);
    }
}

#[test]
fn truncation_keeps_the_terms_of_its_lags() {
    for config in nets_of_one_layer() {
        let case = by_outputs(&Shape::new(config, 7, 3, 9));
        let (arrays, net, tape) = record::<f64>(&case, Level::best());
        for lags in 0..7 {
            let g = net.backward(&tape, &arrays.losses(), Some(lags), None).unwrap();
            let mut sum = Vec::new();
            for (i, parameter) in config.parameters().enumerate() {
                let terms = by_lag(&arrays, &net, &tape, i, Terms::All).terms;
                let mut own = vec![0.0; parameter.len()];
                for (at, term) in terms.chunks(parameter.len()).enumerate() {
                    if at / 7 <= at % 7 + lags {
                        own.iter_mut().zip(term).for_each(|(own, x)| *own += x);
                    }
                }
                sum.extend(own);
            }
            assert_close(&format!("{lags} lags of {config:?}"), &sum, &g.parameters, REORDERED);
        }
    }
}

#[test]
fn nothing_crosses_a_reset_or_an_end() {
    for one in nets_of_one_layer() {
        for num_layers in [1, 2] {
            let config = Config { num_layers, ..one };
            let mut shape = Shape::new(config, 8, 1, 3);
            shape.lengths = Some(vec![6]);
            shape.resets = Some((0..8).map(|t| t == 3).collect());
            let case = by_outputs(&shape);
            let (arrays, net, tape) = record::<f64>(&case, Level::best());
            // Input weights: they are used at every step whatever the state.
            let g = by_lag(&arrays, &net, &tape, 0, Terms::None);
            for (t, k) in (0..64).map(|at| (at / 8, at % 8)) {
                let there = k <= t && t < 6 && (t < 3) == (k < 3);
                let relu = config.kind == CellKind::Rnn(Activation::Relu);
                let norm = g.norms[t * 8 + k];
                assert!(
                    if there { norm > 0.0 || relu } else { norm == 0.0 },
                    "{config:?} ({t}, {k}): {norm}"
                );
            }
            let s = state(&config);
            let j = net.step_jacobians(&tape, num_layers - 1, None).unwrap();
            for (t, j) in j.chunks(s * s).enumerate() {
                assert_eq!(j.iter().all(|&x| x == 0.0), t == 3 || t >= 6, "{config:?} step {t}");
            }
            for (t, k) in [(4, 2), (3, 2), (6, 5), (7, 7)] {
                assert!(net.transition(&tape, 0, (t, k), None).unwrap().iter().all(|&x| x == 0.0));
            }
            assert!(net.transition(&tape, 0, (5, 3), None).unwrap().iter().any(|&x| x != 0.0));
        }
    }
}

#[test]
fn rows_of_the_batch_may_change_places() {
    let config = Config::new(CellKind::Lstm { forget_gate: true }, 3, 6);
    let case = by_outputs(&Shape::new(config, 9, 20, 12));
    let order: Vec<usize> = (0..20).map(|b| b * 7 % 20).collect();
    let permuted = |values: &[f64], len: usize| -> Vec<f64> {
        let row = |step: &[f64]| {
            order.iter().flat_map(|&b| step[b * len..(b + 1) * len].to_vec()).collect()
        };
        values.chunks(20 * len).flat_map(|step| -> Vec<f64> { row(step) }).collect()
    };
    let other = Case {
        x: permuted(&case.x, 3),
        h0: permuted(&case.h0, 6),
        c0: permuted(&case.c0, 6),
        dy: permuted(&case.dy, 6),
        ..case.clone()
    };
    let (a, net, tape) = record::<f64>(&case, Level::best());
    let (b, other_net, other_tape) = record::<f64>(&other, Level::best());
    let j = net.step_jacobians(&tape, 0, None).unwrap();
    assert_eq!(permuted(&j, 144), other_net.step_jacobians(&other_tape, 0, None).unwrap());
    for parameter in 0..4 {
        let one = by_lag(&a, &net, &tape, parameter, Terms::None);
        let two = by_lag(&b, &other_net, &other_tape, parameter, Terms::None);
        assert_close("norms", &two.norms, &one.norms, REORDERED);
        assert_close("by lag", &two.by_lag, &one.by_lag, REORDERED);
    }
}

#[test]
fn rows_that_cancel_leave_nothing() {
    // Two equal rows with opposite losses, and a third that is a thousandth of them.
    let config = Config::new(CellKind::Gru { reset_after: false }, 3, 6);
    let mut case = by_outputs(&Shape::new(config, 9, 3, 12));
    for (values, len, sign) in
        [(&mut case.x, 3, 1.0), (&mut case.h0, 6, 1.0), (&mut case.dy, 6, -1.0)]
    {
        for step in values.chunks_mut(3 * len) {
            for u in 0..len {
                step[len + u] = sign * step[u];
                step[2 * len + u] *= if sign < 0.0 { 1e-6 } else { 1.0 };
            }
        }
    }
    let third = Case {
        batch: 1,
        x: case.x.chunks(9).flat_map(|s| s[6..].to_vec()).collect(),
        h0: case.h0[12..].to_vec(),
        dy: case.dy.chunks(18).flat_map(|s| s[12..].to_vec()).collect(),
        dh: vec![0.0; 6],
        ..case.clone()
    };
    let (a, net, tape) = record::<f64>(&case, Level::best());
    let (b, alone, alone_tape) = record::<f64>(&third, Level::best());
    for parameter in 0..4 {
        let all = by_lag(&a, &net, &tape, parameter, Terms::None);
        let one = by_lag(&b, &alone, &alone_tape, parameter, Terms::None);
        // Of rows 10⁶ as large, 10⁻¹⁶ of it is 10⁻¹⁰.
        assert_close("norms", &all.norms, &one.norms, 1e-9);
    }
}

#[test]
fn through_the_masks_of_dropout() {
    for kind in [CellKind::Lstm { forget_gate: true }, CellKind::Rnn(Activation::Tanh)] {
        for bidirectional in [false, true] {
            let config = Config { num_layers: 3, bidirectional, ..Config::new(kind, 3, 7) };
            let case = by_outputs(&Shape::new(config, 6, 4, 2));
            let arrays = Arrays::<f64>::new(case);
            let net = arrays.net(Level::best());
            let recording = Recording { checkpoint: None, dropout: Some((5, 0.4)) };
            let (_, tape) = net.record(&arrays.input(), recording, None).unwrap();
            let g = net.backward(&tape, &arrays.losses(), None, None).unwrap().parameters;
            let mut first = 0;
            for (i, parameter) in config.parameters().enumerate() {
                let len = parameter.len();
                let terms = by_lag(&arrays, &net, &tape, i, Terms::All).terms;
                let sum: Vec<f64> =
                    (0..len).map(|u| terms.iter().skip(u).step_by(len).sum()).collect();
                assert_close(&parameter.to_string(), &sum, &g[first..first + len], REORDERED);
                first += len;
            }
        }
    }
}

/// An RNN with these recurrent weights that hears nothing: at h = 0, tanh is the identity.
fn at_rest(w: &[f64], steps: usize) -> (Network<f64>, Tape<f64>) {
    let n = w.len().isqrt();
    let config = Config { bias: false, ..Config::new(CellKind::Rnn(Activation::Tanh), 1, n) };
    let mut case = Shape::new(config, steps, 1, 1).case();
    case.parameters = [&vec![1.0; n][..], w].concat();
    case.x.fill(0.0);
    case.h0.fill(0.0);
    let (_, net, tape) = record::<f64>(&case, Level::best());
    (net, tape)
}

/// Means of the exponents of all directions after the first half.
fn exponents(net: &Network<f64>, tape: &Tape<f64>, n: usize) -> Vec<f64> {
    let mut q = vec![0.0; n * n];
    unrolled::train::orthogonal(n, n, 1.0, &mut unrolled::rng::Rng::new(3), &mut q).unwrap();
    let logs = net.lyapunov(tape, 0, &mut q, None).unwrap();
    let half = &logs[logs.len() / 2..];
    for (i, a) in q.chunks(n).enumerate() {
        for (j, b) in q.chunks(n).enumerate() {
            assert_within("orthonormal", &[dot(a, b)], &[f64::from(u8::from(i == j))], 1e-14);
        }
    }
    (0..n)
        .map(|i| half.iter().skip(i).step_by(n).sum::<f64>() * n as f64 / half.len() as f64)
        .collect()
}

#[test]
fn lyapunov_exponents_of_a_linear_map_are_logarithms_of_eigenvalues() {
    // A Householder reflection H = 1 − 2 v vᵀ / vᵀ v, and H D H with eigenvalues D.
    let n = 5;
    let v = [0.3, -1.0, 0.7, 0.2, 0.5];
    let length = dot(&v, &v);
    let h = |i: usize, j: usize| f64::from(u8::from(i == j)) - 2.0 * v[i] * v[j] / length;
    let reflection: Vec<f64> = (0..25).map(|at| h(at / n, at % n)).collect();
    let (net, tape) = at_rest(&reflection, 50);
    assert_within("orthogonal", &exponents(&net, &tape, n), &[0.0; 5], 1e-13);

    let d = [1.3_f64, 0.9, 0.5, 0.2, 1e-3];
    let w: Vec<f64> =
        (0..25).map(|at| (0..n).map(|k| h(at / n, k) * d[k] * h(k, at % n)).sum()).collect();
    let (net, tape) = at_rest(&w, 400);
    assert_within("symmetric", &exponents(&net, &tape, n), &d.map(f64::ln), 1e-10);

    let (net, tape) = at_rest(&[0.0; 4], 4);
    let mut q = vec![1.0, 0.0, 0.0, 1.0];
    let logs = net.lyapunov(&tape, 0, &mut q, None).unwrap();
    assert!(logs.iter().all(|&x| x == f64::NEG_INFINITY), "{logs:?}");
}

#[test]
fn what_vanishes_is_still_measured() {
    // A tenth a step: in f32 the far terms would be zero after 38 steps, and slow before. At rest, fivefold: infinite.
    let w: Vec<f64> = (0..16).map(|at| if at / 4 == at % 4 { 0.1 } else { 0.01 }).collect();
    let config = Config::new(CellKind::Rnn(Activation::Tanh), 1, 4);
    for (growth, parameters) in [(1.0, 0..4), (40.0, 2..4)] {
        let mut case = by_outputs(&Shape::new(config, 120, 1, 1));
        case.parameters = [&[0.01; 4][..], &w, &[0.0; 8]].concat();
        case.parameters[4..].iter_mut().for_each(|w| *w *= growth);
        if growth > 1.0 {
            case.h0.fill(0.0);
            case.x.fill(0.0);
        }
        let (small, net, tape) = record::<f32>(&case, Level::best());
        let (large, net64, tape64) = record::<f64>(&case, Level::best());
        for parameter in parameters {
            let a = by_lag(&small, &net, &tape, parameter, Terms::None);
            let of = by_lag(&large, &net64, &tape64, parameter, Terms::None);
            for (a, b) in a.norms.iter().zip(&of.norms) {
                assert_within("norm", &[*a], &[*b], LONG_F32 * b);
            }
            for (lag, (a, b)) in a.by_lag.iter().zip(&of.by_lag).enumerate() {
                // Terms may cancel.
                let terms: f64 = (lag..120).map(|t| of.norms[t * 120 + t - lag]).sum();
                assert_within("by lag", &[*a], &[*b], LONG_F32 * terms);
            }
            let far = of.norms[119 * 120];
            let vanishes = far > 0.0 && far < 1e-90;
            assert!(if growth > 1.0 { far > 1e60 } else { vanishes }, "{far:e}");
        }
        let product = net.transition(&tape, 0, (119, 0), None).unwrap();
        let expected = net64.transition(&tape64, 0, (119, 0), None).unwrap();
        assert_close("transition", &product, &expected, LONG_F32);
    }
}

#[test]
fn mistakes_are_told() {
    let config =
        Config { bidirectional: true, ..Config::new(CellKind::Rnn(Activation::Tanh), 2, 3) };
    let case = Shape::new(config, 4, 2, 1).case();
    let (arrays, mut net, tape) = record::<f32>(&case, Level::best());
    let invalid = |e: Error, name| matches!(e, Error::Invalid { argument, .. } if argument == name);
    assert!(invalid(net.step_jacobians(&tape, 2, None).unwrap_err(), "cell"));
    assert!(invalid(net.transition(&tape, 0, (1, 2), None).unwrap_err(), "k"));
    assert!(invalid(net.transition(&tape, 1, (2, 1), None).unwrap_err(), "k"));
    let error = net.transition(&tape, 0, (4, 0), None).unwrap_err();
    assert_eq!(error, Error::Range { argument: "t", at: 0, most: 3, got: 4 });
    let error = net.pull_back(&tape, 0, (1, 0), &[0.0; 7], None).unwrap_err();
    assert_eq!(error, Error::Length { argument: "v", expected: 12, got: 7 });
    assert!(invalid(net.lyapunov(&tape, 0, &mut [0.0; 24], None).unwrap_err(), "q"));
    let d_y = View::time_major(&arrays.dy, 2, 6);
    let by_lag = |net: &Network<f32>, tape, parameter, terms| {
        net.gradient_by_lag(tape, d_y, parameter, terms, None).map(|_| ()).unwrap_err()
    };
    assert!(invalid(by_lag(&net, &tape, 8, Terms::None), "parameter"));
    let error = by_lag(&net, &tape, 0, Terms::Pairs(&[(0, 0), (1, 4)]));
    assert_eq!(error, Error::Range { argument: "terms", at: 1, most: 3, got: 4 });
    let short = View::time_major(&arrays.dy[1..], 2, 6);
    let error = net.gradient_by_lag(&tape, short, 0, Terms::None, None).map(|_| ()).unwrap_err();
    assert_eq!(error, Error::Length { argument: "dy", expected: 48, got: 47 });
    let stop = || true;
    let error = net.step_jacobians(&tape, 0, Some(&stop)).unwrap_err();
    assert_eq!(error, Error::Interrupted);
    let error =
        net.gradient_by_lag(&tape, d_y, 0, Terms::None, Some(&stop)).map(|_| ()).unwrap_err();
    assert_eq!(error, Error::Interrupted);
    let recording = Recording { checkpoint: Some(2), dropout: None };
    let (_, checkpoints) = net.record(&arrays.input(), recording, None).unwrap();
    assert!(invalid(by_lag(&net, &checkpoints, 0, Terms::None), "tape"));
    net.update(|_| Ok::<_, Error>(())).unwrap();
    assert!(invalid(by_lag(&net, &tape, 0, Terms::None), "tape"));
    assert!(invalid(net.step_jacobians(&tape, 0, None).unwrap_err(), "tape"));
}

#[test]
fn nothing_at_all_is_defined() {
    let config = Config {
        num_layers: 2,
        bidirectional: true,
        ..Config::new(CellKind::Rnn(Activation::Tanh), 2, 3)
    };
    for (steps, batch) in [(0, 2), (3, 0)] {
        let case = Shape::new(config, steps, batch, 1).case();
        let (arrays, net, tape) = record::<f64>(&case, Level::best());
        assert!(net.step_jacobians(&tape, 0, None).unwrap().is_empty());
        let g = by_lag(&arrays, &net, &tape, 0, Terms::All);
        assert_eq!((g.norms.len(), g.by_lag.len()), (steps * steps, steps));
        assert!(g.norms.iter().chain(&g.terms).all(|&x| x == 0.0));
        assert!(net.lyapunov(&tape, 0, &mut [], None).unwrap().is_empty());
    }
}
