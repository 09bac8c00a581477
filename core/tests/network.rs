//! The kernels against the reference: every cell, at every level by name, of any size; and what must
//! not show in the results: the batch, the threads, the level, checkpoints.

mod common;
#[path = "common/nets.rs"]
mod nets;

use common::{Case, assert_within, problems, tolerance};
use nets::{Arrays, back, fusing, levels};
use proptest::prelude::*;
use unrolled::Passes;
use unrolled::gates::{Activation, CellKind};
use unrolled::network::{Gradients, Output, Recording};
use unrolled::reference;
use unrolled::simd::Level;
use unrolled::tape::Quantity;

const PLAIN: Recording = Recording { checkpoint: None, dropout: None };

/// As `common::assert_close`, for problems so small that all of an array may cancel to next to nothing.
#[track_caller]
fn assert_close(what: &str, got: &[f64], expected: &[f64], tolerance: f64) {
    let largest = expected.iter().fold(tolerance::CANCELLED, |most: f64, x| most.max(x.abs()));
    assert_within(what, got, expected, tolerance * largest);
}

/// Outputs and all gradients of `case` in `T` against the reference in f64.
fn judge<T: Passes>(level: Level, case: &Case, truncate: Option<usize>) {
    let arrays = Arrays::<T>::new(case.clone());
    let (output, _, g) = arrays.run(&arrays.net(level), PLAIN, truncate);
    let problem = case.problem();
    let record = reference::forward(&problem);
    let expected = reference::backward(&problem, &record, &case.dy, &case.dh, &case.dc, truncate);
    let what = |name: &str| format!("{level:?} {} {name} of {:?}", T::NAME, case.config);
    let close = tolerance::outputs::<T>();
    assert_close(&what("y"), &back(&output.y), &record.y, close);
    let states = [("h", &record.h), ("c", &record.c)];
    for (state, (name, expected)) in output.states.iter().zip(states) {
        assert_close(&what(name), &back(state), expected, close);
    }
    let close = tolerance::gradients::<T>();
    assert_close(&what("d_x"), &back(&g.x), &expected.x, close);
    let states = [("d_h0", &expected.h0), ("d_c0", &expected.c0)];
    for (state, (name, expected)) in g.states.iter().zip(states) {
        assert_close(&what(name), &back(state), expected, close);
    }
    let (got, mut at) = (back(&g.parameters), 0);
    for p in case.config.parameters() {
        let own = at..at + p.len();
        assert_close(&what(&p.to_string()), &got[own.clone()], &expected.parameters[own], close);
        at += p.len();
    }
}

/// A relu whose input lies within f32's error of 0 has another slope there than in f64.
fn near_kink(level: Level, case: &Case) -> bool {
    matches!(case.config.kind, CellKind::Rnn(Activation::Relu)) && {
        let arrays = Arrays::<f32>::new(case.clone());
        let net = arrays.net(level);
        let (_, tape, _) = arrays.run(&net, PLAIN, None);
        let record = reference::forward(&case.problem());
        record.traces.iter().enumerate().any(|(cell, trace)| {
            let got = net.trace(&tape, cell, Quantity::State(0)).unwrap();
            !common::same_sides(&back(&got), &trace.hidden)
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn every_level_agrees_with_the_reference(
        shape in problems(), truncate in prop::option::weighted(0.3, 0_usize..13)
    ) {
        let case = shape.case();
        for level in levels() {
            judge::<f64>(level, &case, truncate);
            if !near_kink(level, &case) {
                judge::<f32>(level, &case, truncate);
            }
        }
    }

    #[test]
    fn levels_that_fuse_agree_to_the_last_bit(
        shape in problems(), truncate in prop::option::weighted(0.2, 0_usize..13)
    ) {
        fn check<T: Passes>(case: &Case, truncate: Option<usize>) {
            let arrays = Arrays::<T>::new(case.clone());
            let all: Vec<_> =
                fusing().into_iter().map(|level| arrays.run(&arrays.net(level), PLAIN, truncate)).collect();
            for pair in all.windows(2) {
                same(&pair[0].0, &pair[1].0);
                same_gradients(&pair[0].2, &pair[1].2);
            }
        }
        check::<f32>(&shape.case(), truncate);
        check::<f64>(&shape.case(), truncate);
    }

    #[test]
    fn checkpoints_change_no_bit(mut shape in problems(), every in 0_usize..200, long in 0_usize..150) {
        if shape.lengths.is_none() && shape.resets.is_none() {
            shape.steps += long;
        }
        let arrays = Arrays::<f32>::new(shape.case());
        let net = arrays.net(Level::best());
        let plain = arrays.run(&net, PLAIN, None);
        let recording = Recording { checkpoint: Some(every), dropout: None };
        let again = arrays.run(&net, recording, None);
        same(&plain.0, &again.0);
        same_gradients(&plain.2, &again.2);
    }

    #[test]
    fn a_row_does_not_know_its_batch(
        mut shape in problems(), more in 0_usize..40, truncate in prop::option::of(0_usize..13),
        checkpoints in (prop::option::of(0_usize..13), prop::option::of(0_usize..13)),
    ) {
        if shape.lengths.is_none() && shape.resets.is_none() {
            shape.batch += more;
        }
        let case = shape.case();
        let whole = Arrays::<f32>::new(case.clone());
        let recording = |checkpoint| Recording { checkpoint, dropout: None };
        let (all, _, g) = whole.run(&whole.net(Level::best()), recording(checkpoints.0), truncate);
        let b = case.batch / 2;
        let (config, own) = (case.config, row(&case, b));
        // Beside itself, and then without the steps after its end.
        for own in [own.clone(), shortened(own)] {
            let alone = Arrays::<f32>::new(own.clone());
            let (one, _, g_one) = alone.run(&alone.net(Level::best()), recording(checkpoints.1), truncate);
            let beginning = |values: &[f32], len: usize| {
                let mut values = pick(values, case.batch, len, b);
                values.truncate(own.steps * len);
                bits(&values)
            };
            prop_assert_eq!(beginning(&all.y, config.output_size()), bits(&one.y));
            prop_assert_eq!(beginning(&g.x, config.input_size), bits(&g_one.x));
            for (state, len) in config.state_sizes().enumerate() {
                let (all, g) = (&all.states[state], &g.states[state]);
                prop_assert_eq!(bits(&pick(all, case.batch, len, b)), bits(&one.states[state]));
                prop_assert_eq!(bits(&pick(g, case.batch, len, b)), bits(&g_one.states[state]));
            }
        }
    }
}

/// The problem of a single row without the steps after its end.
fn shortened(mut row: Case) -> Case {
    row.steps = row.length(0);
    row.lengths = None;
    row.x.truncate(row.steps * row.config.input_size);
    row.dy.truncate(row.steps * row.config.output_size());
    row.resets.iter_mut().for_each(|resets| resets.truncate(row.steps));
    row
}

/// The values of row b of an (n, batch, len) array.
fn pick<T: Copy>(values: &[T], batch: usize, len: usize, b: usize) -> Vec<T> {
    values.chunks(batch * len).flat_map(|step| &step[b * len..(b + 1) * len]).copied().collect()
}

/// The problem of row b alone.
fn row(case: &Case, b: usize) -> Case {
    let (n, c) = (case.batch, case.config);
    Case {
        batch: 1,
        lengths: case.lengths.as_ref().map(|l| vec![l[b]]),
        resets: case.resets.as_ref().map(|r| pick(r, n, 1, b)),
        x: pick(&case.x, n, c.input_size, b),
        h0: pick(&case.h0, n, c.state_size(), b),
        c0: if case.c0.is_empty() { vec![] } else { pick(&case.c0, n, c.hidden_size, b) },
        dy: pick(&case.dy, n, c.output_size(), b),
        dh: pick(&case.dh, n, c.state_size(), b),
        dc: if case.dc.is_empty() { vec![] } else { pick(&case.dc, n, c.hidden_size, b) },
        ..case.clone()
    }
}

fn bits<T: Passes>(values: &[T]) -> Vec<u64> {
    values.iter().map(|v| v.to_f64().to_bits()).collect()
}

#[track_caller]
fn same<T: Passes>(a: &Output<T>, b: &Output<T>) {
    assert_eq!(bits(&a.y), bits(&b.y), "y");
    assert_eq!(
        a.states.iter().map(|s| bits(s)).collect::<Vec<_>>(),
        b.states.iter().map(|s| bits(s)).collect::<Vec<_>>(),
        "states"
    );
}

#[track_caller]
fn same_gradients<T: Passes>(a: &Gradients<T>, b: &Gradients<T>) {
    assert_eq!(bits(&a.parameters), bits(&b.parameters), "d_parameters");
    assert_eq!(bits(&a.x), bits(&b.x), "d_x");
    assert_eq!(
        a.states.iter().map(|s| bits(s)).collect::<Vec<_>>(),
        b.states.iter().map(|s| bits(s)).collect::<Vec<_>>(),
        "d_states"
    );
}

#[cfg(feature = "rayon")]
#[test]
fn the_number_of_threads_shows_in_no_bit() {
    use unrolled::batch::set_num_threads;
    let kind = CellKind::Lstm { forget_gate: true };
    for (inputs, units, steps, batch) in [(24, 40, 20, 33), (24, 40, 20, 300), (32, 48, 3, 60)] {
        let config = unrolled::gates::Config {
            bidirectional: true,
            ..unrolled::gates::Config::new(kind, inputs, units)
        };
        let mut shape = common::Shape::new(config, steps, batch, 3);
        shape.lengths = Some((0..batch).map(|b| 1 + b * 7 % steps).collect());
        let arrays = Arrays::<f32>::new(shape.case());
        let net = arrays.net(Level::best());
        set_num_threads(1);
        let one = arrays.run(&net, PLAIN, None);
        for threads in [2, 3, 8] {
            set_num_threads(threads);
            let many = arrays.run(&net, PLAIN, None);
            same(&one.0, &many.0);
            same_gradients(&one.2, &many.2);
        }
    }
    set_num_threads(0);
}

/// `case`, with steps behind every row's end.
fn padded(case: &Case, more: usize) -> Case {
    let (steps, rows) = (case.steps, more * case.batch);
    let mut long = case.clone();
    long.steps += more;
    long.lengths = Some((0..case.batch).map(|b| case.length(b)).collect());
    long.x.resize(long.x.len() + rows * case.config.input_size, f64::NAN);
    long.dy.resize(long.dy.len() + rows * case.config.output_size(), f64::NAN);
    assert_eq!(long.x.len() / long.steps, case.x.len() / steps);
    long
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Weights' gradients of few steps and rows are summed in another layout than those of many.
    #[test]
    fn steps_behind_the_ends_change_no_bit(
        mut config in common::configs(), lines in (any::<bool>(), any::<bool>()),
        steps in 1_usize..5, batch in 1_usize..40, seed in any::<u64>(),
    ) {
        // A layout is chosen by whether columns fill whole lines, too.
        for (size, whole) in
            [(&mut config.input_size, lines.0), (&mut config.hidden_size, lines.1)]
        {
            *size = if whole { size.next_multiple_of(16) } else { *size };
        }
        let mut shape = common::Shape::new(config, steps, batch, seed);
        shape.lengths = Some((0..batch).map(|b| (b + seed as usize % 7) % (steps + 1)).collect());
        let case = shape.case();
        let (short, long) = (Arrays::<f32>::new(case.clone()), Arrays::new(padded(&case, 257)));
        let net = short.net(Level::best());
        let ((_, _, short), (_, _, mut long)) = (short.run(&net, PLAIN, None), long.run(&net, PLAIN, None));
        long.x.truncate(short.x.len());
        same_gradients(&short, &long);
    }
}

/// Buffers are used again without being cleared: what an earlier call left there must not show.
#[test]
fn what_an_earlier_call_left_in_memory_does_not_show() {
    for (kind, projected) in common::CELLS {
        let mut config = unrolled::gates::Config::new(kind, 21, 37);
        config.proj_size = if projected { 19 } else { 0 };
        (config.num_layers, config.bidirectional) = (2, true);
        let mut shape = common::Shape::new(config, 40, 20, 11);
        shape.lengths = Some((0..20).map(|b| 40 - b).collect());
        let clean = Arrays::<f32>::new(shape.case());
        let mut nan = Arrays::<f32>::new(shape.case());
        for values in [&mut nan.x, &mut nan.h0, &mut nan.c0, &mut nan.dy, &mut nan.dh, &mut nan.dc]
        {
            values.fill(f32::NAN);
        }
        let net = clean.net(Level::best());
        for (checkpoint, truncate) in [(None, None), (Some(16), None), (None, Some(3))] {
            let recording = Recording { checkpoint, dropout: None };
            let first = clean.run(&net, recording, truncate);
            drop(nan.run(&net, recording, truncate));
            let second = clean.run(&net, recording, truncate);
            assert!(second.0.y.iter().all(|y| y.is_finite()));
            same(&first.0, &second.0);
            same_gradients(&first.2, &second.2);
        }
    }
}
