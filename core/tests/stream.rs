//! Streams and read-outs: bit for bit what the whole sequence gives.

mod common;
#[path = "common/nets.rs"]
mod nets;

use common::{Rng, assert_close, problems, tolerance};
use nets::{Arrays, levels};
use proptest::prelude::*;
use unrolled::dense::Dense;
use unrolled::error::Error;
use unrolled::network::Recording;
use unrolled::reference;
use unrolled::tape::Quantity;

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_stream_gives_what_the_sequence_gives(mut shape in problems()) {
        shape.config.bidirectional = false;
        (shape.lengths, shape.resets) = (None, None);
        let arrays = Arrays::<f32>::new(shape.case());
        let case = &arrays.case;
        for level in levels() {
            let net = arrays.net(level);
            let whole = net.forward(&arrays.input(), None).unwrap();
            let mut stream = net.stream(case.batch).unwrap();
            let states = arrays.input().states.unwrap();
            net.set_stream_state(&mut stream, states).unwrap();
            let row = case.batch * case.config.output_size();
            let mut y = vec![0.0; row];
            for t in 0..case.steps {
                let x = &arrays.x[t * case.batch * case.config.input_size..][..case.batch * case.config.input_size];
                net.step(&mut stream, x, &mut y).unwrap();
                prop_assert_eq!(&whole.y[t * row..(t + 1) * row], &y[..]);
            }
            prop_assert_eq!(net.stream_state(&stream), whole.states);
        }
    }

    #[test]
    fn a_tape_shows_every_step(shape in problems()) {
        let arrays = Arrays::<f64>::new(shape.case());
        let case = &arrays.case;
        let net = arrays.net(levels()[0]);
        let (_, tape) = net.record(&arrays.input(), Recording::default(), None).unwrap();
        let record = reference::forward(&case.problem());
        for (cell, expected) in record.traces.iter().enumerate() {
            let close = tolerance::outputs::<f64>();
            let get = |what| net.trace(&tape, cell, what);
            assert_close("hidden", &get(Quantity::State(0)).unwrap(), &expected.hidden, close);
            assert_close("gates", &get(Quantity::Gates).unwrap(), &expected.gates, close);
            if case.config.kind.states() > 1 {
                assert_close("cell", &get(Quantity::State(1)).unwrap(), &expected.cell, close);
            } else {
                prop_assert!(get(Quantity::State(1)).is_err());
            }
        }
    }

    #[test]
    fn a_dense_layer_is_a_matrix(
        inputs in 1_usize..70, outputs in 1_usize..70, rows in 0_usize..600, bias: bool, seed: u64
    ) {
        let mut rng = Rng(seed);
        let w = rng.vector(inputs * outputs, 1.0);
        let b = rng.vector(if bias { outputs } else { 0 }, 1.0);
        let x = rng.vector(rows * inputs, 1.0);
        let d_y = rng.vector(rows * outputs, 1.0);
        let mut y = vec![0.0; rows * outputs];
        let (mut d_x, mut d_w, mut d_b) = (vec![0.0; x.len()], vec![0.0; w.len()], vec![0.0; b.len()]);
        for r in 0..rows {
            for o in 0..outputs {
                let d = d_y[r * outputs + o];
                y[r * outputs + o] = if bias { b[o] } else { 0.0 };
                if bias { d_b[o] += d; }
                for i in 0..inputs {
                    y[r * outputs + o] += w[o * inputs + i] * x[r * inputs + i];
                    d_x[r * inputs + i] += w[o * inputs + i] * d;
                    d_w[o * inputs + i] += x[r * inputs + i] * d;
                }
            }
        }
        for level in levels() {
            let mut dense = Dense::<f64>::new(inputs, outputs, bias, level).unwrap();
            dense.update(|p: &mut [f64]| -> Result<(), Error> {
                p.copy_from_slice(&[&w[..], &b[..]].concat());
                Ok(())
            }).unwrap();
            let all = dense.forward(&x).unwrap();
            assert_close("y", &all, &y, tolerance::REORDERED);
            let g = dense.backward(&x, &d_y).unwrap();
            assert_close("d_x", &g.x, &d_x, tolerance::REORDERED);
            assert_close("d_w", &g.parameters[..w.len()], &d_w, tolerance::REORDERED);
            assert_close("d_b", &g.parameters[w.len()..], &d_b, tolerance::REORDERED);
            if rows > 0 {
                // A row by itself has a kernel of its own.
                let (x, d_y) = (&x[..inputs], &d_y[..outputs]);
                prop_assert_eq!(&dense.forward(x).unwrap()[..], &all[..outputs]);
                prop_assert_eq!(&dense.backward(x, d_y).unwrap().x[..], &g.x[..inputs]);
            }
        }
    }
}
