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
