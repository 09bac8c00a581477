//! Cells as formulas: those of the crate written as formulas against the crate's own, and others against central
//! differences.

mod common;

use common::tolerance::{DIFFERENCE, DIFFERENCE_STEP, REORDERED};
use common::{assert_close, assert_within};
use unrolled::cell::formula::{Binary, Description, Fed, Formula, MapOf, Node, Surrogate, Unary};
use unrolled::network::{Input, Losses, Network, Recording, StateArrays, View};
use unrolled::simd::Level;
use unrolled::{CellKind, Config, Error, Passes};

/// A formula on the way.
struct Draft(Description);

impl Draft {
    fn new(states: &[&str]) -> Self {
        let states = states.iter().map(|&name| name.into()).collect();
        Draft(Description { states, ..Default::default() })
    }
    fn node(&mut self, node: Node) -> usize {
        self.0.nodes.push(node);
        self.0.nodes.len() - 1
    }
    /// A slot that x feeds, and h or a value.
    fn map(&mut self, name: &str, x: bool, fed: Fed) -> usize {
        let own = |there: bool| there.then(|| name.to_string());
        self.0.maps.push(MapOf { x: own(x), h: own(fed != Fed::Nothing), fed });
        let slot = self.0.maps.len() - 1;
        self.node(Node::Slot(slot))
    }
    fn both(&mut self, name: &str) -> usize {
        self.map(name, true, Fed::State)
    }
    fn parameter(&mut self, name: &str) -> usize {
        self.0.parameters.push((name.into(), 0.0));
        let at = self.0.parameters.len() - 1;
        self.node(Node::Parameter(at))
    }
    fn state(&mut self, state: usize) -> usize {
        self.node(Node::State(state))
    }
    fn number(&mut self, x: f64) -> usize {
        self.node(Node::Number(x))
    }
    fn f(&mut self, of: Unary, a: usize) -> usize {
        self.node(Node::Unary(of, a))
    }
    fn op(&mut self, of: Binary, a: usize, b: usize) -> usize {
        self.node(Node::Binary(of, a, b))
    }
    fn add(&mut self, a: usize, b: usize) -> usize {
        self.op(Binary::Add, a, b)
    }
    fn mul(&mut self, a: usize, b: usize) -> usize {
        self.op(Binary::Mul, a, b)
    }
    fn finish(mut self, outputs: &[usize]) -> Formula {
        self.0.outputs = outputs.to_vec();
        Formula::new(self.0).unwrap()
    }
    /// Zero mean and unit variance over the units.
    fn normalise(&mut self, a: usize) -> usize {
        let mean = self.f(Unary::Mean, a);
        let centred = self.op(Binary::Sub, a, mean);
        let square = self.mul(centred, centred);
        let variance = self.f(Unary::Mean, square);
        let eps = self.number(1e-5);
        let wide = self.add(variance, eps);
        let deviation = self.f(Unary::Sqrt, wide);
        self.op(Binary::Div, centred, deviation)
    }
}

fn lstm() -> Formula {
    let mut d = Draft::new(&["h", "c"]);
    let [i, f, g, o] = ["i", "f", "g", "o"].map(|name| d.both(name));
    let c = d.state(1);
    let [i, f, o] = [i, f, o].map(|slot| d.f(Unary::Sigmoid, slot));
    let g = d.f(Unary::Tanh, g);
    let (kept, new) = (d.mul(f, c), d.mul(i, g));
    let c = d.add(kept, new);
    let tanh_c = d.f(Unary::Tanh, c);
    let h = d.mul(o, tanh_c);
    d.finish(&[h, c])
}

fn gru(reset_after: bool) -> Formula {
    let mut d = Draft::new(&["h"]);
    let [r, z] = ["r", "z"].map(|name| d.both(name));
    let h = d.state(0);
    let [r, z] = [r, z].map(|slot| d.f(Unary::Sigmoid, slot));
    let n = if reset_after {
        let (x, hidden) = (d.map("n", true, Fed::Nothing), d.map("m", false, Fed::State));
        let product = d.mul(r, hidden);
        d.add(x, product)
    } else {
        let value = d.mul(r, h);
        d.map("n", true, Fed::Value(value))
    };
    let n = d.f(Unary::Tanh, n);
    let apart = d.op(Binary::Sub, h, n);
    let product = d.mul(z, apart);
    let h = d.add(n, product);
    d.finish(&[h])
}

/// Peepholes, an exponential gate, a normalised cell: parameters, means over the row, most functions.
fn odd(surrogate: Option<Surrogate>) -> Formula {
    let mut d = Draft::new(&["h", "c", "n"]);
    let [i, f, g] = ["i", "f", "g"].map(|name| d.both(name));
    let (x, m) = (d.map("x", true, Fed::Nothing), d.map("m", false, Fed::State));
    let (h, c, n) = (d.state(0), d.state(1), d.state(2));
    let [p, q] = ["p", "q"].map(|name| d.parameter(name));
    let bounded = d.f(Unary::Tanh, c);
    let peep = d.mul(p, bounded);
    let i = d.add(i, peep);
    let i = d.f(Unary::Exp, i);
    let f = d.f(Unary::LogSigmoid, f);
    let f = d.f(Unary::Exp, f);
    let g = d.normalise(g);
    let g = d.f(Unary::Silu, g);
    let (a, b) = (d.mul(f, c), d.mul(i, g));
    let c = d.add(a, b);
    let a = d.mul(f, n);
    let n = d.add(a, i);
    let one = d.number(1.0);
    let n = d.op(Binary::Maximum, n, one);
    let ratio = d.op(Binary::Div, c, n);
    let wave = d.f(Unary::Sin, x);
    let size = d.f(Unary::Abs, m);
    let soft = d.f(Unary::Softplus, size);
    let root = d.f(Unary::Sqrt, soft);
    let less = d.op(Binary::Less, wave, ratio);
    let spread = d.mul(q, root);
    let chosen = d.node(Node::Where(less, spread, h));
    let out = d.add(ratio, chosen);
    let out = match surrogate {
        None => d.f(Unary::Tanh, out),
        Some(surrogate) => d.node(Node::Spike(out, surrogate, 5.0)),
    };
    let out = d.normalise(out);
    d.finish(&[out, c, n])
}

/// Maps of a value that another map acts on too, of a slot as it is, and of h itself.
fn mapped() -> Formula {
    let mut d = Draft::new(&["h"]);
    let slot = d.both("a");
    let h = d.state(0);
    let value = d.mul(slot, h);
    let two = ["b", "c"].map(|name| d.map(name, false, Fed::Value(value)));
    let bare = d.map("d", true, Fed::Value(slot));
    let tanh = two.map(|slot| d.f(Unary::Tanh, slot));
    let product = d.mul(tanh[0], tanh[1]);
    let sum = d.add(product, bare);
    let own = d.map("e", false, Fed::Value(h));
    let sum = d.add(sum, own);
    let out = d.f(Unary::Tanh, sum);
    d.finish(&[out])
}

/// Numbers between −1 and 1.
fn numbers<T: Passes>(seed: u64, len: usize) -> Vec<T> {
    let mut rng = common::Rng(seed);
    (0..len).map(|_| T::from_f64(rng.uniform(1.0))).collect()
}

/// y, the states and every gradient, one after another.
fn run<T: Passes>(net: &Network<T>, steps: usize, batch: usize, how: &How) -> [Vec<f64>; 5] {
    let config = net.config();
    let x = numbers::<T>(1, steps * batch * config.input_size);
    let d_y = numbers::<T>(2, steps * batch * config.output_size());
    let cells = config.num_layers * config.num_directions() * batch;
    let states = |seed| -> Vec<Vec<T>> {
        config.state_sizes().zip(seed..).map(|(n, seed)| numbers(seed, cells * n)).collect()
    };
    let (before, d_after) = (states(3), states(7));
    let lengths: Vec<usize> = (0..batch).map(|b| steps - b % steps).collect();
    let resets: Vec<bool> = (0..steps * batch).map(|at| at % 7 == 3).collect();
    let input = Input {
        x: View::time_major(&x, batch, config.input_size),
        steps,
        batch,
        states: Some(StateArrays::of(&before)),
        lengths: how.ragged.then_some(&lengths[..]),
        resets: how.ragged.then(|| View::time_major(&resets, batch, 1)),
    };
    let recording = Recording { checkpoint: how.checkpoint, dropout: None };
    let (output, tape) = net.record(&input, recording, None).unwrap();
    let y = View::time_major(&d_y, batch, config.output_size());
    let losses = Losses { y, states: Some(StateArrays::of(&d_after)) };
    let g = net.backward(&tape, &losses, how.truncate, None).unwrap();
    let wide = |values: &[T]| values.iter().map(|x| x.to_f64()).collect::<Vec<_>>();
    let all = |states: &[Vec<T>]| wide(&states.concat());
    [wide(&output.y), all(&output.states), wide(&g.parameters), wide(&g.x), all(&g.states)]
}

#[derive(Default)]
struct How {
    ragged: bool,
    truncate: Option<usize>,
    checkpoint: Option<usize>,
}

fn fill<T: Passes>(mut net: Network<T>, seed: u64) -> Network<T> {
    let change = |p: &mut [T]| -> Result<(), Error> {
        p.copy_from_slice(&numbers(seed, p.len()));
        Ok(())
    };
    net.update(change).unwrap();
    net
}

#[test]
fn cells_of_the_crate_as_formulas() {
    let gru_kinds = [true, false].map(|reset_after| CellKind::Gru { reset_after });
    let kinds = [
        (CellKind::Lstm { forget_gate: true }, lstm()),
        (gru_kinds[0], gru(true)),
        (gru_kinds[1], gru(false)),
    ];
    for (kind, formula) in kinds {
        for (hidden, layers, bidirectional) in [(5, 1, false), (16, 2, true), (33, 1, false)] {
            let config =
                Config { num_layers: layers, bidirectional, ..Config::new(kind, 3, hidden) };
            let hows = [
                How::default(),
                How { ragged: true, ..How::default() },
                How { truncate: Some(2), ..How::default() },
                How { checkpoint: Some(2), ragged: true, ..How::default() },
            ];
            for level in Level::available() {
                let own = fill(Network::<f64>::new(config, level).unwrap(), 9);
                let open = Network::<f64>::with_formula(config, &formula, level).unwrap();
                let open = fill(open, 9);
                for how in &hows {
                    let (expected, found) = (run(&own, 6, 4, how), run(&open, 6, 4, how));
                    for (what, (e, f)) in expected.iter().zip(&found).enumerate() {
                        let name = format!("{kind:?} {hidden} {}: {what}", level.isa());
                        assert_close(&name, f, e, REORDERED);
                    }
                }
            }
        }
    }
}

#[test]
fn levels_that_fuse_agree_to_the_last_bit() {
    let config = Config::new(CellKind::Gru { reset_after: true }, 3, 21);
    for formula in [lstm(), gru(false), odd(None)] {
        let mut all = Vec::new();
        for level in Level::available().filter(|level| level.fuses()) {
            let net = fill(Network::<f32>::with_formula(config, &formula, level).unwrap(), 4);
            let bits = |values: Vec<f64>| values.into_iter().map(f64::to_bits).collect::<Vec<_>>();
            all.push(run(&net, 5, 3, &How::default()).map(bits));
        }
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
    }
}

#[test]
fn gradients_are_difference_quotients() {
    let config = Config { num_layers: 2, ..Config::new(CellKind::Gru { reset_after: true }, 2, 5) };
    for formula in [lstm(), gru(true), gru(false), odd(None), mapped()] {
        let net = Network::<f64>::with_formula(config, &formula, Level::best()).unwrap();
        let net = fill(net, 5);
        let (steps, batch) = (4, 2);
        let d_y = numbers::<f64>(2, steps * batch * 5);
        let loss = |net: &Network<f64>| {
            let [y, states, ..] = run(net, steps, batch, &How::default());
            let cells = 2 * batch * 5;
            let d_after: Vec<f64> = (0..states.len() / cells)
                .flat_map(|i| numbers::<f64>(7 + i as u64, cells))
                .collect();
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            dot(&y, &d_y) + dot(&states, &d_after)
        };
        let [.., parameters, _, _] = run(&net, steps, batch, &How::default());
        let step = DIFFERENCE_STEP;
        let found: Vec<f64> = (0..parameters.len())
            .map(|at| {
                let moved = |by: f64| {
                    let mut values = net.parameters().to_vec();
                    values[at] += by;
                    loss(&net.with_parameters(values).unwrap())
                };
                (moved(step) - moved(-step)) / (2.0 * step)
            })
            .collect();
        let most = parameters.iter().fold(1.0, |most: f64, g| most.max(g.abs()));
        assert_within("parameters", &parameters, &found, most * DIFFERENCE);
    }
}

/// Values normalised together, one of them twice, as one node each or written out in means.
fn normal(together: bool) -> Formula {
    let mut d = Draft::new(&["h", "c"]);
    let [a, b] = ["a", "b"].map(|name| d.both(name));
    let c = d.state(1);
    let all = [a, b, a];
    let [x, y, z] = if together {
        [0, 1, 2].map(|which| d.node(Node::Normalise { of: all.to_vec(), eps: 0.1, which }))
    } else {
        let [three, eps] = [3.0, 0.1].map(|x| d.number(x));
        let mean = |d: &mut Draft, [a, b, c]: [usize; 3]| {
            let sum = d.add(a, b);
            let sum = d.add(sum, c);
            let share = d.op(Binary::Div, sum, three);
            d.f(Unary::Mean, share)
        };
        let middle = mean(&mut d, all);
        let centred = all.map(|a| d.op(Binary::Sub, a, middle));
        let squares = centred.map(|a| d.mul(a, a));
        let variance = mean(&mut d, squares);
        let wide = d.add(variance, eps);
        let deviation = d.f(Unary::Sqrt, wide);
        centred.map(|a| d.op(Binary::Div, a, deviation))
    };
    let product = d.mul(x, y);
    let sum = d.add(product, z);
    let h = d.add(sum, c);
    d.finish(&[h, x])
}

#[test]
fn what_is_normalised_has_the_gradients_of_means() {
    let config = Config::new(CellKind::Gru { reset_after: true }, 2, 21);
    let found = [true, false].map(|together| {
        let formula = normal(together);
        run(
            &fill(Network::<f64>::with_formula(config, &formula, Level::best()).unwrap(), 3),
            4,
            3,
            &How::default(),
        )
    });
    for (what, (e, f)) in found[1].iter().zip(&found[0]).enumerate() {
        assert_close(&format!("{what}"), f, e, REORDERED);
    }
    let walks = |together| normal(together).explain().matches("over the whole row").count();
    assert_eq!((walks(true), walks(false)), (3, 4));
}

/// Two spikes of one value have each their own derivative, and a comparison beside them has none.
#[test]
fn spikes_of_one_value_are_two() {
    let made = |first: Surrogate, second: Option<Surrogate>, compared: bool| {
        let mut d = Draft::new(&["h"]);
        let a = d.both("a");
        let zero = d.number(0.0);
        let holds = d.op(Binary::Less, zero, a);
        let one = d.node(Node::Spike(a, first, 2.0));
        let two = match second {
            Some(second) => d.node(Node::Spike(a, second, 2.0)),
            None if compared => holds,
            None => zero,
        };
        let h = d.add(one, two);
        d.finish(&[h])
    };
    let config = Config::new(CellKind::Gru { reset_after: true }, 2, 5);
    let gradient = |formula: Formula| {
        let net = Network::<f64>::with_formula(config, &formula, Level::best()).unwrap();
        let [.., g, _, _] = run(&fill(net, 3), 1, 3, &How::default());
        g
    };
    let (fast, atan) = (Surrogate::FastSigmoid, Surrogate::Atan);
    let [a, b] = [fast, atan].map(|surrogate| gradient(made(surrogate, None, false)));
    let sum: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
    assert_close("both", &gradient(made(fast, Some(atan), false)), &sum, REORDERED);
    assert_eq!(gradient(made(fast, None, true)), a);
    assert!(a.iter().any(|&g| g != 0.0));
}

#[test]
fn what_is_no_formula_is_refused() {
    let refused = |change: fn(&mut Description)| {
        let mut description = lstm().description().clone();
        change(&mut description);
        assert!(Formula::new(description).is_err());
    };
    refused(|d| d.outputs.clear());
    refused(|d| d.outputs[0] = 10_000);
    refused(|d| d.nodes[3] = Node::Unary(Unary::Tanh, 3));
    refused(|d| d.nodes[3] = Node::Slot(4));
    refused(|d| d.nodes[3] = Node::Parameter(0));
    refused(|d| d.maps[0].fed = Fed::Value(10_000));
    refused(|d| d.maps[0].x = d.maps[1].x.clone());
    // A value that depends on its own map.
    refused(|d| d.maps[0].fed = Fed::Value(d.outputs[0]));
    refused(|d| d.nodes = vec![Node::Number(0.0); 5000]);
    refused(|d| d.nodes[3] = Node::Normalise { of: vec![], eps: 1.0, which: 0 });
    refused(|d| d.nodes[3] = Node::Normalise { of: vec![0], eps: 1.0, which: 1 });
    refused(|d| d.nodes[3] = Node::Normalise { of: vec![3], eps: 1.0, which: 0 });
    refused(|d| d.nodes[3] = Node::Normalise { of: vec![0], eps: 0.0, which: 0 });
    refused(|d| d.nodes[3] = Node::Normalise { of: vec![0; 65], eps: 1.0, which: 0 });
    // More than can be kept, and more means than are to be had.
    let many = |count: usize, what: fn(&mut Draft, usize, usize) -> usize| {
        let mut d = Draft::new(&["h"]);
        let slot = d.both("a");
        let mut sum = slot;
        for n in 0..count {
            let scale = d.number(1.0 + n as f64);
            let own = d.mul(slot, scale);
            let own = what(&mut d, own, sum);
            let own = d.mul(own, sum);
            sum = d.add(sum, own);
        }
        d.0.outputs = vec![sum];
        Formula::new(d.0)
    };
    let tanh = |d: &mut Draft, own, _| d.f(Unary::Tanh, own);
    let quotient = |d: &mut Draft, own, sum| d.op(Binary::Div, own, sum);
    let mean = |d: &mut Draft, own, _| d.f(Unary::Mean, own);
    // A function of what is kept is computed again.
    assert!(many(600, tanh).is_ok());
    assert!(many(100, quotient).is_ok());
    assert!(many(600, quotient).is_err());
    assert!(many(64, mean).is_ok());
    assert!(many(65, mean).is_err());
    // Long derivatives and deep formulas are none the worse.
    let mut d = Draft::new(&["h"]);
    let slot = d.both("a");
    let mut at = slot;
    for _ in 0..1300 {
        at = d.op(Binary::Pow, at, slot);
    }
    d.0.outputs = vec![at];
    let _ = Formula::new(d.0);
    let mut d = Draft::new(&["h"]);
    let mut at = d.both("a");
    for _ in 0..4000 {
        at = d.f(Unary::Tanh, at);
    }
    d.finish(&[at]);
}
