//! A guard for rewrites of the core: a hash of the bits of everything it computes, against `data/guard.txt`.
//!
//! Levels that fuse multiply-add share their lines. A hash tells that something differs, not what is right: the
//! other tests judge that. Where results are meant to change, write the file anew and say why in the commit:
//!
//! ```text
//! UNROLLED_WRITE_GUARD=1 cargo test --release -p unrolled --test guard
//! ```

use adapter::{Case, OPTIONS};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use unrolled::Passes;
use unrolled::simd::{Isa, Level};

/// Hashes of one case, each with the name of what was hashed.
type Hashes = Vec<(&'static str, u32)>;

/// By case, in the order in which they are computed.
type Lines = Vec<(String, Hashes)>;

/// FNV-1a over words, each multiplication followed by a shift: without it two flipped signs would cancel.
fn hash<T: Passes>(arrays: &[&[T]]) -> u32 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut take = |word: u64| {
        hash = (hash ^ word).wrapping_mul(0x0100_0000_01b3);
        hash ^= hash >> 32;
    };
    for array in arrays {
        take(array.len() as u64);
        array.iter().for_each(|value| take(value.to_f64().to_bits()));
    }
    (hash ^ (hash >> 32)) as u32
}

/// (steps, rows, inputs, units, layers, directions): single rows and odd ones, vectors filled and not, one shard and
/// more, more than one chunk of steps.
const SIZES: [[usize; 6]; 6] = [
    [7, 1, 3, 5, 1, 1],
    [9, 1, 16, 16, 1, 1],
    [8, 1, 32, 32, 1, 1],
    [6, 5, 4, 20, 2, 2],
    [12, 33, 7, 33, 2, 1],
    [50, 18, 3, 9, 2, 2],
];

/// Every line of one level.
fn compute(level: Level) -> Lines {
    let mut lines = Lines::new();
    for (cell, _, _) in adapter::CELLS {
        for sizes in SIZES {
            for (option, _) in OPTIONS {
                let case = Case { cell, sizes, option };
                let [t, b, i, h, l, d] = sizes;
                let name = format!("{cell} T{t} B{b} I{i} H{h} L{l} D{d} {option}");
                if let Some(hashes) = adapter::net::<f32>(&case, level) {
                    lines.push((format!("float32 {name}"), hashes));
                }
                if let Some(hashes) = adapter::net::<f64>(&case, level) {
                    lines.push((format!("float64 {name}"), hashes));
                }
            }
        }
    }
    // Cells of fixed sizes run at the best level the process may use; this program has one test.
    Level::set_limit(level.isa());
    adapter::fixed(&mut lines);
    Level::set_limit(Isa::Avx512);
    lines
}

/// All that touches the crate's interface.
mod adapter {
    use super::{Hashes, Lines, hash};
    use unrolled::cell::{Cell, Relu, ResetBefore, Sigmoid};
    use unrolled::fixed::{self, Fixed, Parameters, State, Tape};
    use unrolled::flow::Terms;
    use unrolled::network::{Input, Losses, Network, Recording, StateArrays, View};
    use unrolled::rng::{bits_at, derive, uniform_at};
    use unrolled::simd::Level;
    use unrolled::train::{Init, initialise};
    use unrolled::{Activation, CellKind, Config, Error, Gru, Lstm, Passes, Rnn};

    /// Name, cell, and whether it has a projection.
    pub const CELLS: [(&str, CellKind, bool); 8] = [
        ("lstm", CellKind::Lstm { forget_gate: true }, false),
        ("lstm_1997", CellKind::Lstm { forget_gate: false }, false),
        ("lstm_projected", CellKind::Lstm { forget_gate: true }, true),
        ("gru", CellKind::Gru { reset_after: true }, false),
        ("gru_original", CellKind::Gru { reset_after: false }, false),
        ("rnn_tanh", CellKind::Rnn(Activation::Tanh), false),
        ("rnn_relu", CellKind::Rnn(Activation::Relu), false),
        ("rnn_sigmoid", CellKind::Rnn(Activation::Sigmoid), false),
    ];

    pub struct Case {
        pub cell: &'static str,
        pub sizes: [usize; 6],
        pub option: &'static str,
    }

    /// How a net is run.
    #[derive(Clone, Copy, Default)]
    pub struct Run {
        ragged: bool,
        resets: bool,
        truncate: bool,
        checkpoint: bool,
        dropout: bool,
        /// Neither biases nor initial states nor losses at the final ones.
        bare: bool,
        instead: Instead,
    }

    /// What is done instead of a pass there and back.
    #[derive(Clone, Copy, Default, PartialEq)]
    enum Instead {
        #[default]
        Nothing,
        Stream,
        Flow,
    }

    const PLAIN: Run = Run {
        ragged: false,
        resets: false,
        truncate: false,
        checkpoint: false,
        dropout: false,
        bare: false,
        instead: Instead::Nothing,
    };

    pub const OPTIONS: [(&str, Run); 11] = [
        ("plain", PLAIN),
        ("ragged", Run { ragged: true, ..PLAIN }),
        ("resets", Run { resets: true, ..PLAIN }),
        ("truncated", Run { truncate: true, ..PLAIN }),
        ("checkpoints", Run { checkpoint: true, ..PLAIN }),
        ("dropout", Run { dropout: true, ..PLAIN }),
        ("bare", Run { bare: true, ..PLAIN }),
        (
            "all",
            Run {
                ragged: true,
                resets: true,
                truncate: true,
                checkpoint: true,
                dropout: true,
                ..PLAIN
            },
        ),
        ("stream", Run { instead: Instead::Stream, ..PLAIN }),
        ("flow", Run { instead: Instead::Flow, ..PLAIN }),
        ("flow_ragged", Run { instead: Instead::Flow, ragged: true, resets: true, ..PLAIN }),
    ];

    /// Numbers from −`scale` to `scale`: stream `what` of a seed that all cases share.
    fn numbers<T: Passes>(what: u64, len: usize, scale: f64) -> Vec<T> {
        let seed = derive(12, what);
        let number = |i| T::from_f64(scale * (2.0 * uniform_at(seed, i) - 1.0));
        (0..len as u64).map(number).collect()
    }

    /// The hashes of a case; none where the option does not apply to the sizes.
    pub fn net<T: Passes>(case: &Case, level: Level) -> Option<Hashes> {
        let [steps, batch, input_size, hidden_size, num_layers, directions] = case.sizes;
        let run = OPTIONS.iter().find(|(name, _)| *name == case.option)?.1;
        let (_, kind, projected) = *CELLS.iter().find(|(name, ..)| *name == case.cell)?;
        // Jacobians of many rows take most of the time: ragged ones, which several shards have, are enough.
        let most_rows = if run.ragged { 12 * 33 } else { 6 * 5 };
        let too_long = run.instead == Instead::Flow && steps * batch > most_rows;
        if (run.dropout && num_layers == 1 && !run.ragged)
            || (run.instead == Instead::Stream && directions == 2)
            || too_long
        {
            return None;
        }
        let config = Config {
            proj_size: if projected { hidden_size / 2 } else { 0 },
            num_layers,
            bidirectional: directions == 2,
            bias: !run.bare,
            ..Config::new(kind, input_size, hidden_size)
        };
        let mut net = Network::<T>::new(config, level).unwrap();
        net.update(|p| initialise(&config, Init::Uniform, 0.0, 7, p)).unwrap();

        let cells = num_layers * directions * batch;
        let states = |what: u64| -> Vec<Vec<T>> {
            let of = |(i, size)| numbers::<T>(what + i as u64, cells * size, 1.0);
            config.state_sizes().enumerate().map(of).collect()
        };
        let x = numbers(0, steps * batch * input_size, 2.0);
        let d_y = numbers(1, steps * batch * config.output_size(), 1.0);
        let (before, d_after) = (states(2), states(4));
        // From rows of no step to rows of all, in no order.
        let length = |b| if batch == 1 { steps - 2 } else { (b * 7 + 2) % (steps + 1) };
        let lengths: Vec<usize> = (0..batch).map(length).collect();
        let resets: Vec<bool> =
            (0..steps * batch).map(|at| bits_at(3, at as u64).is_multiple_of(5)).collect();
        let input = Input {
            x: View::time_major(&x, batch, input_size),
            steps,
            batch,
            states: (!run.bare).then(|| StateArrays::of(&before)),
            lengths: run.ragged.then_some(&lengths[..]),
            resets: run.resets.then(|| View::time_major(&resets, batch, 1)),
        };
        if run.instead == Instead::Stream {
            return Some(stream(&net, &x, batch, &before));
        }
        let recording = Recording {
            checkpoint: run.checkpoint.then_some(3),
            dropout: run.dropout.then_some((5, 0.4)),
        };
        let (output, tape) = net.record(&input, recording, None).unwrap();
        if run.instead == Instead::Flow {
            return Some(flow(&net, &tape, &d_y, config.state_sizes().sum()));
        }
        let losses = Losses {
            y: View::time_major(&d_y, batch, config.output_size()),
            states: (!run.bare).then(|| StateArrays::of(&d_after)),
        };
        let d = net.backward(&tape, &losses, run.truncate.then_some(3), None).unwrap();
        Some(vec![
            ("y", hash(&[&output.y])),
            ("states", all(&output.states)),
            ("d_parameters", hash(&[&d.parameters])),
            ("d_x", hash(&[&d.x])),
            ("d_states", all(&d.states)),
        ])
    }

    /// A hash of states: of h and of c, or of nothing in its place.
    fn all<T: Passes>(states: &[Vec<T>]) -> u32 {
        hash(&[&states[0], states.get(1).map_or(&[], |c| &c[..])])
    }

    fn stream<T: Passes>(net: &Network<T>, x: &[T], batch: usize, states: &[Vec<T>]) -> Hashes {
        let config = net.config();
        let mut stream = net.stream(batch).unwrap();
        net.set_stream_state(&mut stream, StateArrays::of(states)).unwrap();
        let row = batch * config.output_size();
        let mut y = Vec::new();
        for x in x.chunks(batch * config.input_size) {
            let first = y.len();
            y.resize(first + row, T::ZERO);
            net.step(&mut stream, x, &mut y[first..]).unwrap();
        }
        vec![("y", hash(&[&y])), ("states", all(&net.stream_state(&stream)))]
    }

    /// `s`: values of a layer's state.
    fn flow<T: Passes>(
        net: &Network<T>,
        tape: &unrolled::tape::Tape<T>,
        d_y: &[T],
        s: usize,
    ) -> Hashes {
        let config = net.config();
        let (steps, batch) = (tape.steps(), tape.batch());
        let mut found: [Vec<T>; 4] = Default::default();
        let mut exact: [Vec<f64>; 3] = Default::default();
        for cell in 0..config.num_layers * config.num_directions() {
            // From the last step but one to the second, in the direction's own time.
            let reverse = cell % config.num_directions() == 1;
            let between = if reverse { (1, steps - 2) } else { (steps - 2, 1) };
            let v = numbers(6, 2 * batch * s, 1.0);
            found[0].extend(net.step_jacobians(tape, cell, None).unwrap());
            found[1].extend(net.pull_back(tape, cell, between, &v, None).unwrap());
            found[2].extend(net.push_forward(tape, cell, between, &v, None).unwrap());
            exact[0].extend(net.transition(tape, cell, between, None).unwrap());
            let mut q = vec![0.0; batch * 2 * s];
            for q in q.chunks_mut(2 * s) {
                (q[0], q[s + 1]) = (1.0, 1.0);
            }
            exact[1].extend(net.lyapunov(tape, cell, &mut q, None).unwrap());
            exact[1].extend(q);
        }
        for parameter in 0..config.parameters().count() {
            let d_y = View::time_major(d_y, batch, config.output_size());
            let g = net.gradient_by_lag(tape, d_y, parameter, Terms::All, None).unwrap();
            found[3].extend(g.terms);
            exact[2].extend(g.norms);
            exact[2].extend(g.by_lag);
        }
        vec![
            ("jacobians", hash(&[&found[0]])),
            ("pull_back", hash(&[&found[1]])),
            ("push_forward", hash(&[&found[2]])),
            ("transition", hash(&[&exact[0]])),
            ("lyapunov", hash(&[&exact[1]])),
            ("terms", hash(&[&found[3]])),
            ("norms", hash(&[&exact[2]])),
        ]
    }

    /// Cells of fixed sizes, at the best level.
    pub fn fixed(lines: &mut Lines) {
        every_variant::<f32, 1, 8>(lines);
        every_variant::<f32, 17, 33>(lines);
        every_variant::<f64, 2, 13>(lines);
        // More than one block of units.
        one("lstm", Lstm::<f32, 2, 80>::from_parameters, lines);
        one("gru", Gru::<f32, 1, 72>::from_parameters, lines);
        one("rnn_tanh", Rnn::<f64, 1, 164>::from_parameters, lines);
        read_out::<f32>(lines);
        read_out::<f64>(lines);
    }

    fn every_variant<T: Passes, const I: usize, const H: usize>(lines: &mut Lines) {
        one("lstm", Lstm::<T, I, H>::from_parameters, lines);
        one("gru", Gru::<T, I, H>::from_parameters, lines);
        one("gru_original", Gru::<T, I, H, ResetBefore>::from_parameters, lines);
        one("rnn_tanh", Rnn::<T, I, H>::from_parameters, lines);
        one("rnn_relu", Rnn::<T, I, H, Relu>::from_parameters, lines);
        one("rnn_sigmoid", Rnn::<T, I, H, Sigmoid>::from_parameters, lines);
    }

    /// Steps of a cell of fixed size.
    const STEPS: usize = 6;

    fn one<C: Cell, T: Passes, const I: usize, const H: usize>(
        name: &str,
        make: fn(&Parameters<C, T, I, H>) -> Fixed<C, T, I, H>,
        lines: &mut Lines,
    ) {
        let kind = CELLS.iter().find(|(own, ..)| *own == name).unwrap().1;
        let config = Config::new(kind, I, H);
        let mut flat = vec![T::ZERO; config.num_parameters()];
        initialise(&config, Init::Uniform, 0.0, 7, &mut flat).unwrap();
        let mut parameters = Parameters::zeros();
        let mut rest = &flat[..];
        for own in parameters.slices_mut() {
            let from;
            (from, rest) = rest.split_at(own.len());
            own.copy_from_slice(from);
        }
        let cell = make(&parameters);
        let state = |what: u64| {
            let mut state = cell.zero_state();
            for (own, what) in state.as_mut().iter_mut().zip(what..) {
                own.copy_from_slice(&numbers(what, H, 1.0));
            }
            state
        };
        let mut now = state(2);
        let mut tape: Box<Tape<C, T, I, H, STEPS>> = Box::new(cell.tape());
        let (x, d_y) = (numbers::<T>(0, STEPS * I, 2.0), numbers::<T>(1, STEPS * H, 1.0));
        let (x, d_y) = (x.as_chunks::<I>().0, d_y.as_chunks::<H>().0);
        let mut y = Vec::new();
        for x in x {
            y.extend_from_slice(cell.record(x, &mut now, &mut tape).unwrap());
        }
        let mut stepped = now;
        y.extend_from_slice(cell.step(&x[0], &mut stepped));

        let mut jacobians = Vec::new();
        let mut cotangent = state(4);
        for t in (0..STEPS).rev() {
            // By h and c, also where there is no c: blocks h_h, h_c, c_h, c_c.
            let mut blocks = [[[T::ZERO; H]; H]; 4];
            for row in 0..now.as_ref().len() * H {
                let (state, unit) = (row / H, row % H);
                let mut own = cell.zero_state();
                own[state][unit] = T::ONE;
                cell.pull_back(&mut tape, t, &mut own).unwrap();
                for (by, d) in h_and_c(&own).into_iter().enumerate() {
                    blocks[2 * state + by][unit] = d;
                }
            }
            jacobians.extend_from_slice(blocks.as_flattened().as_flattened());
            cell.pull_back(&mut tape, t, &mut cotangent).unwrap();
        }
        let (mut d_state, mut d_x, mut d) = (state(4), [[T::ZERO; I]; STEPS], Parameters::zeros());
        cell.backward(&mut tape, d_y, &mut d_state, &mut d_x, &mut d).unwrap();
        let hashes = vec![
            ("y", hash(&[&y])),
            ("states", states(&[now, stepped])),
            ("d_parameters", hash(&d.slices()[..4])),
            ("d_x", hash(&[d_x.as_flattened()])),
            ("d_states", states(&[d_state])),
            ("jacobians", hash(&[&jacobians])),
            ("pull_back", states(&[cotangent])),
        ];
        lines.push((format!("{} fixed {name} I{I} H{H}", T::NAME), hashes));
    }

    /// h, and c where there is one, else zeros.
    fn h_and_c<C: Cell, T: Passes, const H: usize>(state: &State<C, T, H>) -> [[T; H]; 2] {
        let mut both = [[T::ZERO; H]; 2];
        both.iter_mut().zip(state.as_ref()).for_each(|(to, from)| *to = *from);
        both
    }

    fn states<C: Cell, T: Passes, const H: usize>(all: &[State<C, T, H>]) -> u32 {
        let all: Vec<_> = all.iter().flat_map(h_and_c).collect();
        hash(&all.iter().map(|own| &own[..]).collect::<Vec<_>>())
    }

    fn read_out<T: Passes>(lines: &mut Lines) {
        const INPUTS: usize = 19;
        const OUTPUTS: usize = 21;
        let w = numbers::<T>(0, INPUTS * OUTPUTS, 1.0);
        let bias = numbers::<T>(1, OUTPUTS, 1.0);
        let mut weight = [[T::ZERO; INPUTS]; OUTPUTS];
        weight.as_flattened_mut().copy_from_slice(&w);
        let x = numbers::<T>(2, 5 * INPUTS, 1.0);
        let d_y = numbers::<T>(3, 5 * OUTPUTS, 1.0);
        let layer = fixed::Dense::new(weight, bias[..].try_into().unwrap());
        let y = layer.forward(x[..INPUTS].try_into().unwrap());
        let mut whole =
            unrolled::dense::Dense::<T>::new(INPUTS, OUTPUTS, true, Level::best()).unwrap();
        let update = |p: &mut [T]| -> Result<(), Error> {
            p.copy_from_slice(&[w, bias].concat());
            Ok(())
        };
        whole.update(update).unwrap();
        let d = whole.backward(&x, &d_y).unwrap();
        let hashes = vec![
            ("fixed", hash(&[&y])),
            ("y", hash(&[&whole.forward(&x).unwrap()])),
            ("d_parameters", hash(&[&d.parameters])),
            ("d_x", hash(&[&d.x])),
        ];
        lines.push((format!("{} dense", T::NAME), hashes));
    }
}

/// A line of the file: the names of the hashes are left to the program.
fn text((case, hashes): &(String, Hashes)) -> String {
    let mut text = format!("{case}:");
    for (_, hash) in hashes {
        write!(text, " {hash:08x}").unwrap();
    }
    text
}

/// The first of `lines` that is otherwise in `expected`, with what differs.
fn first_difference(lines: &Lines, group: &str, expected: &[String]) -> Option<String> {
    for (i, line) in lines.iter().enumerate() {
        let got = format!("{group} {}", text(line));
        let Some(expected) = expected.get(i) else {
            return Some(format!("{got}, which was not there"));
        };
        if got != *expected {
            let hashes = got.split(' ').rev().zip(expected.split(' ').rev());
            let names = line.1.iter().rev().zip(hashes);
            let names: Vec<_> = names.filter(|(_, (a, b))| a != b).map(|((n, _), _)| *n).collect();
            return Some(format!("{}\n  got      {got}\n  expected {expected}", names.join(", ")));
        }
    }
    let more = expected.get(lines.len())?;
    Some(format!("a case that is gone: {more}"))
}

#[test]
fn every_bit_is_as_it_was() {
    let in_file = |group: &str, lines: &Lines| -> Vec<String> {
        lines.iter().map(|line| format!("{group} {}", text(line))).collect()
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/guard.txt");
    let mut groups: BTreeMap<&str, (Isa, Lines)> = BTreeMap::new();
    for level in Level::available() {
        let group = if level.fuses() { "fused" } else { "unfused" };
        let lines = compute(level);
        if let Some((isa, before)) = groups.get(group) {
            if let Some(difference) = first_difference(&lines, group, &in_file(group, before)) {
                panic!("{} and {isa} differ in {difference}", level.isa());
            }
        } else {
            groups.insert(group, (level.isa(), lines));
        }
    }

    let file = std::fs::read_to_string(&path).unwrap_or_default();
    let of_file = |group: &str| -> Vec<String> {
        let own = |line: &&str| line.split(' ').next() == Some(group);
        file.lines().filter(own).map(String::from).collect()
    };
    if std::env::var("UNROLLED_WRITE_GUARD").is_ok_and(|value| value == "1") {
        let mut file = String::new();
        for group in ["fused", "unfused"] {
            // A machine without such a level leaves its lines as they are.
            let lines = groups
                .get(group)
                .map_or_else(|| of_file(group), |(_, lines)| in_file(group, lines));
            lines.iter().for_each(|line| writeln!(file, "{line}").unwrap());
        }
        std::fs::write(&path, file).unwrap();
        return;
    }
    for group in ["fused", "unfused"] {
        let Some((isa, lines)) = groups.get(group) else {
            println!("not compared: {group} (this machine has no such level)");
            continue;
        };
        if let Some(difference) = first_difference(lines, group, &of_file(group)) {
            panic!("{isa}: the first case that differs, in {difference}");
        }
        println!("{isa}: {} cases are as they were", lines.len());
    }
}
