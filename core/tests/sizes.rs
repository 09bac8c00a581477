//! Sizes too large for any memory, wherever a caller may give one: an error each time.
#![cfg(feature = "alloc")]

use unrolled::activation::Function;
use unrolled::dense::Dense;
use unrolled::error::Error;
use unrolled::fixed::State;
use unrolled::flow::Terms;
use unrolled::network::{Input, Losses, Network, Recording, View};
use unrolled::rng::Rng;
use unrolled::tape::Quantity;
use unrolled::train::{Init, cross_entropy, initialise, orthogonal, xavier_uniform};
use unrolled::{Activation, CellKind, Config, Level, Lstm};

const LSTM: CellKind = CellKind::Lstm { forget_gate: true };

/// Sizes whose products with small numbers wrap, each of them more than there is memory for.
fn huge() -> [usize; 6] {
    let (most, half) = (usize::MAX, usize::MAX / 2);
    [most, most - 1, half, half + 1, half / 4 + 1, most / 3 + 1]
}

fn configs() -> impl Iterator<Item = Config> {
    let kinds = [LSTM, CellKind::Gru { reset_after: false }, CellKind::Rnn(Activation::Tanh)];
    let sizes =
        huge().into_iter().flat_map(|n| [[n, 1, 1], [1, n, 1], [1, 1, n], [n, n, 2], [n; 3]]);
    let all = sizes.flat_map(move |sizes| kinds.map(|kind| (kind, sizes)));
    all.flat_map(|(kind, [inputs, units, layers])| {
        let config =
            Config { num_layers: layers, bidirectional: true, ..Config::new(kind, inputs, units) };
        let projected = Config { proj_size: units.saturating_sub(1).max(1), ..config };
        [config, Config { bidirectional: false, ..config }, projected]
    })
}

#[test]
fn nets_and_layers() {
    for config in configs() {
        assert!(config.output_size() >= 1 && config.num_parameters() >= 3);
        assert!(Network::<f32>::new(config, Level::best()).is_err(), "{config:?}");
        assert!(initialise(&config, Init::Orthogonal, 0.0, 0, &mut [0.0_f32; 9]).is_err());
    }
    for n in huge() {
        for [inputs, outputs] in [[n, 1], [1, n], [n, n], [n, 2]] {
            assert!(Dense::<f64>::new(inputs, outputs, true, Level::best()).is_err());
            let rng = &mut Rng::new(0);
            assert!(xavier_uniform::<f64>(inputs, outputs, 1.0, rng, &mut [0.0; 4]).is_err());
            assert!(orthogonal::<f64>(inputs, outputs, 1.0, rng, &mut [0.0; 4]).is_err());
        }
        assert!(cross_entropy(&[0.0_f32; 4], n, &[0; 4], None, &mut [0.0; 4]).is_err());
        let mut values = [1.0_f32; 4];
        Function::Softmax.apply(Level::best(), &mut values, n);
        assert_eq!(values, [1.0; 4], "no whole row");
    }
}

#[test]
fn batches() {
    let net = Network::<f32>::new(Config::new(LSTM, 2, 3), Level::best()).unwrap();
    let x = [0.5_f32; 24];
    let plain =
        |x, steps, batch| Input { x, steps, batch, states: None, lengths: None, resets: None };
    for n in huge() {
        assert!(net.stream(n).is_err());
        for [steps, batch] in [[n, 1], [1, n], [n, n], [2, n], [n, 2]] {
            for x in [View::time_major(&x, batch, 2), View { data: &x, time: 0, batch: 0 }] {
                let input = plain(x, steps, batch);
                assert!(net.forward(&input, None).is_err(), "{steps} × {batch}");
                assert!(net.record(&input, Recording::default(), None).is_err());
            }
        }
        for (time, batch) in [(n, 2), (2, n), (n, n)] {
            let input = plain(View { data: &x, time, batch }, 3, 4);
            assert!(net.forward(&input, None).is_err(), "strides {time}, {batch}");
            let flags = View { data: &[false; 12][..], time, batch };
            let input = Input { resets: Some(flags), ..plain(View::time_major(&x, 4, 2), 3, 4) };
            assert!(net.forward(&input, None).is_err(), "strides of resets {time}, {batch}");
        }
        let lengths = [n; 4];
        let input = Input { lengths: Some(&lengths), ..plain(View::time_major(&x, 4, 2), 3, 4) };
        assert!(matches!(net.forward(&input, None), Err(Error::Range { .. })));
    }
}

#[test]
fn tapes() {
    let net = Network::<f32>::new(Config::new(LSTM, 2, 3), Level::best()).unwrap();
    let x = View::time_major(&[0.5_f32; 24], 4, 2);
    let input = Input { x, steps: 3, batch: 4, states: None, lengths: None, resets: None };
    let losses = Losses { y: View::time_major(&[1.0; 36], 4, 3), states: None };
    for n in huge() {
        // Checkpoints so far apart are none, and so many lags are all.
        let recording = Recording { checkpoint: Some(n), dropout: None };
        let (_, tape) = net.record(&input, recording, None).unwrap();
        let all = net.backward(&tape, &losses, None, None).unwrap();
        let g = net.backward(&tape, &losses, Some(n), None).unwrap();
        assert_eq!((&all.x, &all.parameters), (&g.x, &g.parameters));
        let wrong = Losses { y: View { data: &[1.0; 36], time: n, batch: n }, ..losses };
        assert!(net.backward(&tape, &wrong, None, None).is_err());

        let (_, tape) = net.record(&input, Recording::default(), None).unwrap();
        assert!(net.trace(&tape, n, Quantity::State(0)).is_err());
        assert!(net.step_jacobians(&tape, n, None).is_err());
        assert!(net.pull_back(&tape, n, (0, 0), &[0.0; 24], None).is_err());
        assert!(net.pull_back(&tape, 0, (n, 0), &[0.0; 24], None).is_err());
        assert!(net.push_forward(&tape, 0, (n, n), &[0.0; 24], None).is_err());
        assert!(net.lyapunov(&tape, n, &mut [1.0; 24], None).is_err());
        let lags = |parameter, terms: Terms<'_>| {
            net.gradient_by_lag(&tape, losses.y, parameter, terms, None)
        };
        assert!(lags(n, Terms::None).is_err());
        assert!(lags(0, Terms::Pairs(&[(n, 0)])).is_err());
        assert!(lags(0, Terms::Pairs(&[(0, n)])).is_err());
    }
}

#[test]
fn fixed_cells() {
    let cell =
        Lstm::<f32, 1, 2>::new([[[0.1]; 2]; 4], [[[0.1; 2]; 2]; 4], [[0.0; 2]; 4], [[0.0; 2]; 4]);
    let (mut state, mut tape) = (cell.zero_state(), cell.tape::<3>());
    cell.record(&[1.0], &mut state, &mut tape).unwrap();
    let mut cotangent = State::new([[1.0; 2], [0.0; 2]]);
    for n in huge() {
        assert!(cell.pull_back(&mut tape, n, &mut cotangent).is_err());
    }
    assert_eq!(cotangent, State::new([[1.0; 2], [0.0; 2]]));
}
