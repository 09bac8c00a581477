//! The judge judged: the reference against finite differences, against the definition of the
//! gradient with its Jacobians written out, and against itself put together from parts.

mod common;

use common::tolerance::{DIFFERENCE, DIFFERENCE_STEP, REORDERED};
use common::{CELLS, Case, Rng, Shape, assert_close, assert_within, half, problems, stackings};
use proptest::prelude::*;
use unrolled::gates::{Activation, CellKind, Config};
use unrolled::reference::{Gradients, Mask, Problem, Record, backward, forward};

/// A small net of each kind, one layer and direction.
fn nets() -> impl Iterator<Item = Config> {
    CELLS.into_iter().map(|(kind, projected)| Config {
        proj_size: if projected { 2 } else { 0 },
        ..Config::new(kind, 2, 3)
    })
}

/// Full rows, rows of several lengths (0 among them), resets, and both; of 4 steps and 3 rows.
fn schedules(config: Config, seed: u64) -> impl Iterator<Item = Shape> {
    let lengths = vec![4, 0, 3];
    // At the first step, at two times in a row, and past an end.
    let mut resets = vec![false; 12];
    for (t, b) in [(0, 0), (2, 0), (1, 2), (2, 2), (3, 2), (1, 1)] {
        resets[t * 3 + b] = true;
    }
    (0..4).map(move |bits| Shape {
        lengths: (bits & 1 != 0).then(|| lengths.clone()),
        resets: (bits & 2 != 0).then(|| resets.clone()),
        ..Shape::new(config, 4, 3, seed + bits)
    })
}

fn full(case: &Case) -> (Record, Gradients) {
    let r = forward(&case.problem());
    let g = backward(&case.problem(), &r, &case.dy, &case.dh, &case.dc, None);
    (r, g)
}

fn truncated(case: &Case, lags: usize) -> Gradients {
    let r = forward(&case.problem());
    backward(&case.problem(), &r, &case.dy, &case.dh, &case.dc, Some(lags))
}

fn assert_same(got: &Gradients, expected: &Gradients, tolerance: f64) {
    assert_close("parameters", &got.parameters, &expected.parameters, tolerance);
    assert_close("x", &got.x, &expected.x, tolerance);
    assert_close("h0", &got.h0, &expected.h0, tolerance);
    assert_close("c0", &got.c0, &expected.c0, tolerance);
}

/// The gradient of `case`'s loss by central differences.
fn differences(case: &Case, dropout: Option<&Mask>) -> Gradients {
    let along = |array: fn(&mut Case) -> &mut Vec<f64>| {
        let mut case = case.clone();
        (0..array(&mut case).len())
            .map(|k| {
                let middle = array(&mut case)[k];
                let [less, more] = [-DIFFERENCE_STEP, DIFFERENCE_STEP].map(|step| {
                    array(&mut case)[k] = middle + step;
                    case.loss(&forward(&Problem { dropout, ..case.problem() }))
                });
                array(&mut case)[k] = middle;
                (more - less) / (2.0 * DIFFERENCE_STEP)
            })
            .collect()
    };
    Gradients {
        parameters: along(|case| &mut case.parameters),
        x: along(|case| &mut case.x),
        h0: along(|case| &mut case.h0),
        c0: along(|case| &mut case.c0),
    }
}

fn assert_differences(case: &Case, dropout: Option<&Mask>) {
    let p = Problem { dropout, ..case.problem() };
    let g = backward(&p, &forward(&p), &case.dy, &case.dh, &case.dc, None);
    let expected = differences(case, dropout);
    let what = format!("{:?} {:?} {:?}", case.config, case.lengths, case.resets);
    for (name, got, expected) in [
        ("parameters", &g.parameters, &expected.parameters),
        ("x", &g.x, &expected.x),
        ("h0", &g.h0, &expected.h0),
        ("c0", &g.c0, &expected.c0),
    ] {
        let largest = expected.iter().fold(1.0, |most: f64, x| most.max(x.abs()));
        assert_within(&format!("{what} {name}"), got, expected, DIFFERENCE * largest);
    }
}

#[test]
fn gradients_are_the_slopes() {
    for net in nets() {
        for config in stackings(net) {
            for shape in schedules(config, 1) {
                assert_differences(&shape.case(), None);
            }
        }
    }
}

#[test]
fn gradients_are_the_slopes_with_dropout() {
    for net in nets() {
        let config = Config { num_layers: 3, bidirectional: true, ..net };
        for shape in schedules(config, 2) {
            assert_differences(&shape.case(), Some(&*half()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// At any size: the slope along a random direction through everything at once.
    #[test]
    fn gradients_are_the_slopes_at_any_size(shape in problems()) {
        // A step across a relu's kink would not see the slope on one side of it.
        prop_assume!(shape.config.kind != CellKind::Rnn(Activation::Relu));
        let case = shape.case();
        let (r, g) = full(&case);
        let gradient = [&g.parameters[..], &g.x, &g.h0, &g.c0].concat();
        let direction = Rng(!shape.seed).vector(gradient.len(), 1.0);
        let length = common::dot(&direction, &direction).sqrt();
        let [less, more] = [-DIFFERENCE_STEP, DIFFERENCE_STEP].map(|step| {
            let mut case = case.clone();
            let everything = [&mut case.parameters, &mut case.x, &mut case.h0, &mut case.c0];
            let each = everything.into_iter().flatten();
            for (value, along) in each.zip(&direction) {
                *value += step * along / length;
            }
            case.loss(&forward(&case.problem()))
        });
        let slope = (more - less) / (2.0 * DIFFERENCE_STEP);
        let expected = common::dot(&gradient, &direction) / length;
        let scale = common::dot(&gradient, &gradient).sqrt().max(1.0);
        assert_within("slope", &[expected], &[slope], DIFFERENCE * scale);
        prop_assert!(r.y.iter().all(|y| y.is_finite()));
    }

    /// A row is what it would be alone, cut to its length: bit by bit, except that gradients in
    /// the parameters are the sum over the rows.
    #[test]
    fn rows_do_not_know_each_other(shape in problems()) {
        let case = shape.case();
        let (r, g) = full(&case);
        let Config { input_size, .. } = case.config;
        let mut parameters = vec![0.0; g.parameters.len()];
        for b in 0..case.batch {
            let length = case.length(b);
            let alone = row(&case, b);
            let (r_alone, g_alone) = full(&alone);
            let y = of_row(&case, &r.y, b, case.config.output_size());
            prop_assert_eq!(&y[..r_alone.y.len()], &r_alone.y[..]);
            prop_assert!(y[r_alone.y.len()..].iter().all(|y| *y == 0.0));
            let x = of_row(&case, &g.x, b, input_size);
            prop_assert_eq!(&x[..length * input_size], &g_alone.x[..]);
            prop_assert!(x[length * input_size..].iter().all(|x| *x == 0.0));
            let size = case.config.state_size();
            prop_assert_eq!(of_row(&case, &r.h, b, size), r_alone.h);
            prop_assert_eq!(of_row(&case, &g.h0, b, size), g_alone.h0);
            if case.config.kind.states() > 1 {
                let size = case.config.hidden_size;
                prop_assert_eq!(of_row(&case, &r.c, b, size), r_alone.c);
                prop_assert_eq!(of_row(&case, &g.c0, b, size), g_alone.c0);
            }
            add(&mut parameters, &g_alone.parameters);
        }
        assert_close("parameters", &g.parameters, &parameters, REORDERED);
    }
}

fn add(to: &mut [f64], from: &[f64]) {
    assert_eq!(to.len(), from.len());
    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
}

/// Row `b` of an array (anything, B, `size`).
fn of_row(case: &Case, array: &[f64], b: usize, size: usize) -> Vec<f64> {
    array.chunks(size).skip(b).step_by(case.batch).flatten().copied().collect()
}

/// Row `b` as a batch of its own that ends where it ends.
fn row(case: &Case, b: usize) -> Case {
    let Config { input_size, hidden_size, .. } = case.config;
    let (state_size, output_size) = (case.config.state_size(), case.config.output_size());
    let length = case.length(b);
    let first = |mut array: Vec<f64>, size: usize| {
        array.truncate(length * size);
        array
    };
    Case {
        steps: length,
        batch: 1,
        lengths: None,
        resets: case
            .resets
            .as_ref()
            .map(|resets| (0..length).map(|t| resets[t * case.batch + b]).collect()),
        x: first(of_row(case, &case.x, b, input_size), input_size),
        h0: of_row(case, &case.h0, b, state_size),
        c0: of_row(case, &case.c0, b, hidden_size),
        dy: first(of_row(case, &case.dy, b, output_size), output_size),
        dh: of_row(case, &case.dh, b, state_size),
        dc: of_row(case, &case.dc, b, hidden_size),
        ..case.clone()
    }
}

/// The times `from..to` of a batch of one, from and to the same states, without resets.
fn window(case: &Case, from: usize, to: usize) -> Case {
    assert_eq!(case.batch, 1);
    let cut = |array: &[f64], size: usize| array[from * size..to * size].to_vec();
    Case {
        steps: to - from,
        resets: None,
        x: cut(&case.x, case.config.input_size),
        dy: cut(&case.dy, case.config.output_size()),
        ..case.clone()
    }
}

/// A reset cuts the sequence: its pieces, each run alone, have the same outputs and gradients.
#[test]
fn resets_cut_sequences() {
    for net in nets() {
        for config in stackings(net) {
            for (seed, at) in [(1, vec![3]), (2, vec![0, 2, 5]), (3, vec![1, 2, 6])] {
                let resets = (0..7).map(|t| at.contains(&t)).collect();
                let shape = Shape { resets: Some(resets), ..Shape::new(config, 7, 1, seed) };
                cut_at(&shape.case(), &at);
            }
        }
    }
}

fn cut_at(case: &Case, at: &[usize]) {
    let (r, g) = full(case);
    let mut borders = vec![0];
    borders.extend(at.iter().filter(|t| **t > 0));
    borders.push(case.steps);
    let pieces = borders.len() - 1;

    let (mut y, mut x, mut parameters) = (vec![], vec![], vec![0.0; g.parameters.len()]);
    let mut states = [&r.h, &r.c, &g.h0, &g.c0].map(|state| vec![0.0; state.len()]);
    for (n, border) in borders.windows(2).enumerate() {
        let mut piece = window(case, border[0], border[1]);
        // A direction begins with the initial state in the piece it takes first, and ends with
        // the final one in the piece it takes last.
        let begins = |reverse: bool| {
            if reverse { n == pieces - 1 } else { n == 0 && at[0] != 0 }
        };
        let ends = |reverse: bool| n == if reverse { 0 } else { pieces - 1 };
        keep(&case.config, &mut [&mut piece.h0, &mut piece.c0], begins);
        keep(&case.config, &mut [&mut piece.dh, &mut piece.dc], ends);
        let (mut r, mut g) = full(&piece);
        keep(&case.config, &mut [&mut r.h, &mut r.c], ends);
        keep(&case.config, &mut [&mut g.h0, &mut g.c0], begins);
        for (sum, state) in states.iter_mut().zip([&r.h, &r.c, &g.h0, &g.c0]) {
            add(sum, state);
        }
        y.extend(r.y);
        x.extend(g.x);
        add(&mut parameters, &g.parameters);
    }
    assert_eq!(r.y, y);
    assert_eq!(g.x, x);
    assert_eq!([r.h, r.c, g.h0, g.c0], states);
    assert_close("parameters", &g.parameters, &parameters, REORDERED);
}

/// Zeroes the states (L·D, 1, any size) of the directions not kept.
fn keep(config: &Config, states: &mut [&mut Vec<f64>], kept: impl Fn(bool) -> bool) {
    let count = config.num_layers * config.num_directions();
    for state in states {
        let size = state.len() / count;
        for index in 0..count {
            let reverse = config.bidirectional && index % 2 == 1;
            if !kept(reverse) {
                state[index * size..(index + 1) * size].fill(0.0);
            }
        }
    }
}

/// The two directions of a layer are two nets, one of which reads the row from its end. So
/// everything that holds for the first direction holds for the second.
#[test]
fn the_reverse_direction_is_forward_on_the_turned_row() {
    for net in nets() {
        let config = Config { bidirectional: true, ..net };
        for shape in schedules(config, 5) {
            for truncate in [None, Some(0), Some(1), Some(2)] {
                for b in 0..3 {
                    turned(&row(&shape.case(), b), truncate);
                }
            }
        }
    }
}

fn turned(case: &Case, truncate: Option<usize>) {
    let p = case.problem();
    let r = forward(&p);
    let g = backward(&p, &r, &case.dy, &case.dh, &case.dc, truncate);

    let config = Config { bidirectional: false, ..case.config };
    let size = config.state_size();
    let halves = [false, true].map(|reverse| {
        let turn = |array: &[f64], size: usize| -> Vec<f64> {
            let steps = array.chunks(size);
            if reverse { steps.rev().flatten().copied().collect() } else { array.to_vec() }
        };
        let half = |array: &[f64]| {
            let (first, second) = array.split_at(array.len() / 2);
            if reverse { second.to_vec() } else { first.to_vec() }
        };
        // Of each step's outputs the first or the second half.
        let output =
            |array: &[f64]| -> Vec<f64> { array.chunks(2 * size).flat_map(half).collect() };
        let resets = case.resets.as_ref().map(|resets| {
            let cut = |s| if reverse { s > 0 && resets[case.steps - s] } else { resets[s] };
            (0..case.steps).map(cut).collect()
        });
        let single = Case {
            config,
            parameters: half(&case.parameters),
            resets,
            x: turn(&case.x, config.input_size),
            h0: half(&case.h0),
            c0: half(&case.c0),
            dy: turn(&output(&case.dy), size),
            dh: half(&case.dh),
            dc: half(&case.dc),
            ..case.clone()
        };
        let p = single.problem();
        let r_single = forward(&p);
        let g = backward(&p, &r_single, &single.dy, &single.dh, &single.dc, truncate);
        assert_eq!(output(&r.y), turn(&r_single.y, size));
        assert_eq!(half(&r.h), r_single.h);
        assert_eq!(half(&r.c), r_single.c);
        Gradients { x: turn(&g.x, config.input_size), ..g }
    });
    let [mut expected, second] = halves;
    add(&mut expected.x, &second.x);
    expected.parameters.extend(second.parameters);
    expected.h0.extend(second.h0);
    expected.c0.extend(second.c0);
    assert_same(&g, &expected, REORDERED);
}

/// Two layers are two nets, one on the other, with dropout between them; also when truncated.
#[test]
fn layers_are_nets_on_each_other() {
    let mask = half();
    for net in nets() {
        let config = Config { num_layers: 2, bidirectional: true, ..net };
        for shape in schedules(config, 7) {
            for truncate in [None, Some(0), Some(2)] {
                let case = shape.case();
                let p = Problem { dropout: Some(&*mask), ..case.problem() };
                let r = forward(&p);
                let g = backward(&p, &r, &case.dy, &case.dh, &case.dc, truncate);

                let below = Config { num_layers: 1, ..config };
                let above = Config { input_size: config.output_size(), ..below };
                let (cut, h, c) = (below.num_parameters(), case.h0.len() / 2, case.c0.len() / 2);
                let lower = Problem {
                    config: &below,
                    parameters: &case.parameters[..cut],
                    h0: &case.h0[..h],
                    c0: &case.c0[..c],
                    ..case.problem()
                };
                let r_lower = forward(&lower);
                let drop = |values: &[f64]| -> Vec<f64> {
                    let size = below.output_size();
                    let factor = |k: usize| mask(0, k / size / 3, k / size % 3, k % size);
                    values.iter().enumerate().map(|(k, value)| value * factor(k)).collect()
                };
                let between = drop(&r_lower.y);
                let upper = Problem {
                    config: &above,
                    parameters: &case.parameters[cut..],
                    x: &between,
                    h0: &case.h0[h..],
                    c0: &case.c0[c..],
                    ..case.problem()
                };
                let r_upper = forward(&upper);
                let (dh, dc) = (&case.dh, &case.dc);
                let g_upper = backward(&upper, &r_upper, &case.dy, &dh[h..], &dc[c..], truncate);
                let d_between = drop(&g_upper.x);
                let g_lower = backward(&lower, &r_lower, &d_between, &dh[..h], &dc[..c], truncate);

                assert_eq!(r.y, r_upper.y);
                assert_eq!(r.h, [r_lower.h, r_upper.h].concat());
                assert_eq!(r.c, [r_lower.c, r_upper.c].concat());
                let expected = Gradients {
                    parameters: [g_lower.parameters, g_upper.parameters].concat(),
                    x: g_lower.x,
                    h0: [g_lower.h0, g_upper.h0].concat(),
                    c0: [g_lower.c0, g_upper.c0].concat(),
                };
                assert_eq!(g, expected);
            }
        }
    }
}

/// A gradient truncated at K lags is the sum of full ones: of each step's loss alone, through the
/// K steps before it and no further. At 0 lags these are the k = t terms. The other direction and
/// further layers follow by the two tests above.
#[test]
fn truncated_gradients_are_sums_over_windows() {
    for config in nets() {
        for shape in schedules(config, 11) {
            for lags in 0..5 {
                for b in 0..3 {
                    windows(&row(&shape.case(), b), lags);
                }
            }
        }
    }
}

fn windows(case: &Case, lags: usize) {
    let r = forward(&case.problem());
    let got = truncated(case, lags);
    let (inputs, outputs) = (case.config.input_size, case.config.output_size());
    let cells = case.c0.len();
    let mut sum = Gradients {
        parameters: vec![0.0; case.parameters.len()],
        x: vec![0.0; case.x.len()],
        h0: vec![0.0; case.h0.len()],
        c0: vec![0.0; case.c0.len()],
    };
    if case.steps == 0 {
        // The final state is the initial one.
        (sum.h0, sum.c0) = (case.dh.clone(), case.dc.clone());
    }
    for t in 0..case.steps {
        let first = t.saturating_sub(lags);
        let mut part = window(case, first, t + 1);
        part.resets = case.resets.as_ref().map(|resets| resets[first..=t].to_vec());
        if first > 0 {
            part.h0 = r.traces[0].hidden[(first - 1) * outputs..first * outputs].to_vec();
            part.c0 = r.traces[0].cell[(first - 1) * cells..first * cells].to_vec();
        }
        part.dy[..(t - first) * outputs].fill(0.0);
        if t + 1 < case.steps {
            part.dh.fill(0.0);
            part.dc.fill(0.0);
        }
        let (_, g) = full(&part);
        add(&mut sum.parameters, &g.parameters);
        add(&mut sum.x[first * inputs..(t + 1) * inputs], &g.x);
        if first == 0 {
            add(&mut sum.h0, &g.h0);
            add(&mut sum.c0, &g.c0);
        }
    }
    assert_same(&got, &sum, REORDERED);
}

#[test]
fn truncation_past_the_start_is_none() {
    for net in nets() {
        for config in stackings(net) {
            for shape in schedules(config, 13) {
                let case = shape.case();
                let (_, expected) = full(&case);
                for lags in [3, 4, 100, usize::MAX] {
                    assert_same(&truncated(&case, lags), &expected, REORDERED);
                }
            }
        }
    }
}

/// A plain recurrent layer with its Jacobians written out, for the definition of the gradient.
struct Explicit {
    inputs: usize,
    size: usize,
    x: Vec<Vec<f64>>,
    /// h_0, h_1, …
    h: Vec<Vec<f64>>,
    /// σ'(s_t), from t = 1 on as in the formulas; the first element is not used.
    slope: Vec<Vec<f64>>,
    w: Vec<Vec<f64>>,
    u: Vec<Vec<f64>>,
    /// ∂L_t/∂h_t, from t = 1 on.
    d_loss: Vec<Vec<f64>>,
}

impl Explicit {
    fn new(case: &Case) -> Self {
        let CellKind::Rnn(activation) = case.config.kind else { unreachable!() };
        let (inputs, size) = (case.config.input_size, case.config.hidden_size);
        let rows = |array: &[f64], size: usize| array.chunks(size).map(<[f64]>::to_vec).collect();
        let (u, rest) = case.parameters.split_at(size * inputs);
        let (w, biases) = rest.split_at(size * size);
        let (u, w): (Vec<Vec<f64>>, Vec<Vec<f64>>) = (rows(u, inputs), rows(w, size));
        let x: Vec<Vec<f64>> = rows(&case.x, inputs);
        let mut h = vec![case.h0.clone()];
        let mut slope = vec![vec![]];
        for x in &x {
            let s: Vec<f64> = (0..size)
                .map(|j| {
                    let bias = biases[j] + biases[size + j];
                    common::dot(&w[j], h.last().unwrap()) + common::dot(&u[j], x) + bias
                })
                .collect();
            let logistic = |s: f64| 1.0 / (1.0 + (-s).exp());
            h.push(
                s.iter()
                    .map(|s| match activation {
                        Activation::Tanh => s.tanh(),
                        Activation::Relu => s.max(0.0),
                        Activation::Sigmoid => logistic(*s),
                    })
                    .collect(),
            );
            slope.push(
                s.iter()
                    .map(|s| match activation {
                        Activation::Tanh => s.cosh().powi(-2),
                        Activation::Relu => f64::from(u8::from(*s > 0.0)),
                        Activation::Sigmoid => logistic(*s) * logistic(-s),
                    })
                    .collect(),
            );
        }
        let mut d_loss = vec![vec![]];
        d_loss.extend(case.dy.chunks(size).map(<[f64]>::to_vec));
        add(d_loss.last_mut().unwrap(), &case.dh);
        Explicit { inputs, size, x, h, slope, w, u, d_loss }
    }

    /// J_t = diag(σ'(s_t)) W
    fn jacobian(&self, t: usize) -> Vec<Vec<f64>> {
        let row = |j: usize| self.w[j].iter().map(|w| self.slope[t][j] * w).collect();
        (0..self.size).map(row).collect()
    }

    /// ∂h_t/∂h_k = J_t … J_{k+1}
    fn between(&self, t: usize, k: usize) -> Vec<Vec<f64>> {
        let mut product: Vec<Vec<f64>> = (0..self.size)
            .map(|i| (0..self.size).map(|j| f64::from(u8::from(i == j))).collect())
            .collect();
        for step in k + 1..=t {
            product = multiply(&self.jacobian(step), &product);
        }
        product
    }

    /// The term of the loss at t through the use at k: (∂L_t/∂h_t)(∂h_t/∂h_k)(∂⁺h_k/∂·).
    fn term(&self, t: usize, k: usize, sum: &mut Gradients) {
        let Explicit { inputs, size, .. } = *self;
        let d_h = multiply(&[self.d_loss[t].clone()], &self.between(t, k)).remove(0);
        for j in 0..size {
            let d_s = d_h[j] * self.slope[k][j];
            for i in 0..inputs {
                sum.parameters[j * inputs + i] += d_s * self.x[k - 1][i];
                sum.x[(k - 1) * inputs + i] += d_s * self.u[j][i];
            }
            for i in 0..size {
                sum.parameters[size * inputs + j * size + i] += d_s * self.h[k - 1][i];
                if k == 1 {
                    sum.h0[i] += d_s * self.w[j][i];
                }
            }
            sum.parameters[size * (inputs + size) + j] += d_s;
            sum.parameters[size * (inputs + size + 1) + j] += d_s;
        }
    }
}

fn multiply(a: &[Vec<f64>], b: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let column = |j: usize| b.iter().map(move |row| row[j]);
    a.iter()
        .map(|row| {
            (0..b[0].len()).map(|j| row.iter().zip(column(j)).map(|(a, b)| a * b).sum()).collect()
        })
        .collect()
}

fn none(case: &Case) -> Gradients {
    Gradients {
        parameters: vec![0.0; case.parameters.len()],
        x: vec![0.0; case.x.len()],
        h0: vec![0.0; case.h0.len()],
        c0: vec![],
    }
}

fn plain(activation: Activation, inputs: usize, size: usize, steps: usize, seed: u64) -> Case {
    let config = Config::new(CellKind::Rnn(activation), inputs, size);
    Shape::new(config, steps, 1, seed).case()
}

/// The recurrence is the double sum over losses and uses, and truncated at K lags the part of it
/// with t − k ≤ K; so the terms by lag sum to the gradient.
#[test]
fn the_recurrence_is_the_double_sum() {
    for activation in [Activation::Tanh, Activation::Relu, Activation::Sigmoid] {
        for (inputs, size, steps, seed) in [(2, 3, 8, 1), (4, 2, 5, 2), (3, 7, 12, 3)] {
            let case = plain(activation, inputs, size, steps, seed);
            let (r, g) = full(&case);
            let explicit = Explicit::new(&case);
            assert_close("y", &r.y, &explicit.h[1..].concat(), REORDERED);
            let mut sum = none(&case);
            for lag in 0..steps {
                for t in lag + 1..=steps {
                    explicit.term(t, t - lag, &mut sum);
                }
                assert_same(&truncated(&case, lag), &sum, REORDERED);
            }
            assert_same(&g, &sum, REORDERED);
        }
    }
}

/// T = 3, every term by name. With δ_t = ∂L_t/∂h_t alone only the three k = t terms remain:
/// truncation at lag 0, which is not the gradient.
#[test]
fn three_steps_term_by_term() {
    let case = plain(Activation::Tanh, 2, 2, 3, 4);
    let explicit = Explicit::new(&case);
    let (j_2, j_3) = (explicit.jacobian(2), explicit.jacobian(3));
    let j_3_j_2 = multiply(&j_3, &j_2);
    // ∂L_t/∂W = Σ_k (∂L_t/∂h_t ∂h_t/∂h_k ⊙ σ'(s_k)) h_{k−1}ᵀ
    let outer = |d_h: &[f64], k: usize| -> Vec<f64> {
        let d_s = |j: usize| d_h[j] * explicit.slope[k][j];
        (0..4).map(|n| d_s(n / 2) * explicit.h[k - 1][n % 2]).collect()
    };
    let through = |d_h: &[f64], j: &[Vec<f64>]| multiply(&[d_h.to_vec()], j).remove(0);
    let [_, d_1, d_2, d_3] = &explicit.d_loss[..] else { unreachable!() };

    let same_step = [outer(d_1, 1), outer(d_2, 2), outer(d_3, 3)];
    let one_back = [outer(&through(d_2, &j_2), 1), outer(&through(d_3, &j_3), 2)];
    let two_back = [outer(&through(d_3, &j_3_j_2), 1)];

    let mut w = vec![0.0; 4];
    for (lag, terms) in [&same_step[..], &one_back, &two_back].into_iter().enumerate() {
        terms.iter().for_each(|term| add(&mut w, term));
        assert_close("w_hh", &truncated(&case, lag).parameters[4..8], &w, REORDERED);
    }
    let (_, g) = full(&case);
    assert_close("w_hh", &g.parameters[4..8], &w, REORDERED);

    let alone = &truncated(&case, 0).parameters[4..8];
    let apart = alone.iter().zip(&w).any(|(alone, w)| (alone - w).abs() > 1e-2 * w.abs());
    assert!(apart, "the k = t terms are not the gradient");
}

/// One step of one unit with the formulas of the papers in the open, since the slopes of a wrong
/// function would be right all the same.
#[test]
fn one_step_by_hand() {
    let one = |kind, parameters: &[f64], h: f64, c: &[f64]| {
        let p = Problem {
            config: &Config::new(kind, 1, 1),
            parameters,
            steps: 1,
            batch: 1,
            x: &[0.7],
            h0: &[h],
            c0: c,
            lengths: None,
            resets: None,
            dropout: None,
        };
        let r = forward(&p);
        (r.h[0], r.c.first().copied(), r.traces[0].gates.clone())
    };
    let logistic = |s: f64| 1.0 / (1.0 + (-s).exp());
    let (x, h, c) = (0.7, -0.4, 1.3);
    let close = |what: &str, got: &[f64], expected: &[f64]| {
        assert_close(what, got, expected, REORDERED);
    };

    let (w, v) = ([0.3, -0.5, 0.9, 0.2], [0.6, 0.1, -0.8, 0.4]);
    let (a, b) = ([0.05, 0.5, -0.1, 0.2], [-0.3, 0.25, 0.15, -0.05]);
    let s = |k: usize| w[k] * x + a[k] + v[k] * h + b[k];
    let (i, f, g, o) = (logistic(s(0)), logistic(s(1)), s(2).tanh(), logistic(s(3)));
    let kind = CellKind::Lstm { forget_gate: true };
    let (h_1, c_1, gates) = one(kind, &[w, v, a, b].concat(), h, &[c]);
    close("gates", &gates, &[i, f, g, o]);
    close("c", &[c_1.unwrap()], &[f * c + i * g]);
    close("h", &[h_1], &[o * (f * c + i * g).tanh()]);

    let without_f = [w, v, a, b].map(|q| [q[0], q[2], q[3]]).concat();
    let kind = CellKind::Lstm { forget_gate: false };
    let (h_1, c_1, gates) = one(kind, &without_f, h, &[c]);
    close("gates", &gates, &[i, g, o]);
    close("c", &[c_1.unwrap()], &[c + i * g]);
    close("h", &[h_1], &[o * (c + i * g).tanh()]);

    let three = [w, v, a, b].map(|q| [q[0], q[1], q[2]]).concat();
    let (r, z) = (logistic(s(0)), logistic(s(1)));
    for (reset_after, n) in [
        (true, (w[2] * x + a[2] + r * (v[2] * h + b[2])).tanh()),
        (false, (w[2] * x + a[2] + v[2] * (r * h) + b[2]).tanh()),
    ] {
        let (h_1, _, gates) = one(CellKind::Gru { reset_after }, &three, h, &[]);
        close("gates", &gates, &[r, z, n]);
        close("h", &[h_1], &[(1.0 - z) * n + z * h]);
    }
}

/// No steps, no rows, or rows of no step: empty or zero, and the state passes through.
#[test]
fn nothing_to_do() {
    for net in nets() {
        for config in stackings(net) {
            let no_rows = Shape::new(config, 4, 0, 1).case();
            let (r, g) = full(&no_rows);
            assert!(r.y.is_empty() && r.h.is_empty() && g.x.is_empty() && g.h0.is_empty());
            assert_eq!(g.parameters, vec![0.0; config.num_parameters()]);

            let empty_rows = Shape { lengths: Some(vec![0; 3]), ..Shape::new(config, 4, 3, 1) };
            for shape in [Shape::new(config, 0, 3, 1), empty_rows] {
                let case = shape.case();
                let (r, g) = full(&case);
                assert_eq!(r.y, vec![0.0; case.dy.len()]);
                assert_eq!((r.h, r.c), (case.h0.clone(), case.c0.clone()));
                assert_eq!(g.parameters, vec![0.0; config.num_parameters()]);
                assert_eq!(g.x, vec![0.0; case.x.len()]);
                assert_eq!((&g.h0, &g.c0), (&case.dh, &case.dc));
                assert_eq!(truncated(&case, 0), g);
            }
        }
    }
}

#[test]
fn nan_shows() {
    for config in nets() {
        let mut case = Shape::new(config, 2, 1, 1).case();
        case.x[2] = f64::NAN;
        let (r, _) = full(&case);
        let (before, after) = r.y.split_at(config.output_size());
        assert!(before.iter().all(|y| y.is_finite()), "{config:?}");
        assert!(after.iter().all(|y| y.is_nan()), "{config:?}");
    }
}

#[test]
#[should_panic(expected = "h0")]
fn a_wrong_length_panics() {
    let mut case = plain(Activation::Tanh, 2, 3, 2, 1);
    case.h0.pop();
    let _ = forward(&case.problem());
}
