//! Nets that store weights smaller: the bits of the nets of the weights that these stand for, whatever is asked of them.
//! Few weights are read as floats, so that many sizes here are of a hundred units and more.

#[path = "common/cells.rs"]
mod cells;
mod common;
#[path = "common/nets.rs"]
mod nets;

use cells::TwoMaps;
use common::Rng;
use nets::levels;
use unrolled::gates::{Activation, CellKind, Config};
use unrolled::network::{Input, Losses, Network, Output, Recording, Storage, View};
use unrolled::simd::{Float16, Int8, Isa, Level, Weight};
use unrolled::{Error, Passes};

const WAYS: [Storage; 2] = [Storage::Float16, Storage::Int8];
const LSTM: CellKind = CellKind::Lstm { forget_gate: true };
const KINDS: [CellKind; 6] = [
    LSTM,
    CellKind::Lstm { forget_gate: false },
    CellKind::Gru { reset_after: true },
    CellKind::Gru { reset_after: false },
    CellKind::Rnn(Activation::Tanh),
    CellKind::Rnn(Activation::Relu),
];

fn numbers<T: Passes>(seed: u64, len: usize, most: f64) -> Vec<T> {
    let mut rng = Rng(seed);
    (0..len).map(|_| T::from_f64(rng.uniform(most))).collect()
}

/// A net of random weights.
fn drawn<T: Passes>(config: Config, level: Level) -> Network<T> {
    let net = Network::new(config, level).unwrap();
    let len = net.parameters().len();
    net.with_parameters(numbers(3, len, 1.0 / (config.hidden_size as f64).sqrt())).unwrap()
}

fn forward<T: Passes>(net: &Network<T>, x: &[T], steps: usize) -> Output<T> {
    let inputs = net.config().input_size;
    let batch = x.len() / (steps * inputs);
    let x = View::time_major(x, batch, inputs);
    let input = Input { x, steps, batch, states: None, lengths: None, resets: None };
    net.forward(&input, None).unwrap()
}

/// A whole net and a compressed one, and what the latter is to be like.
fn pair<T: Passes>(whole: &Network<T>, way: Storage) -> [Network<T>; 2] {
    let small = whole.compressed(way).unwrap();
    assert_eq!((small.storage(), whole.storage()), (way, Storage::Full));
    assert_ne!(small.parameters(), whole.parameters(), "nothing was rounded");
    let same = whole.with_parameters(small.parameters().to_vec()).unwrap();
    [small, same]
}

/// Sequences of one row and of several, and streams by steps and by blocks.
fn judge<T: Passes>(whole: &Network<T>, sizes: &[usize]) {
    let config = *whole.config();
    for way in WAYS {
        let [small, same] = pair(whole, way);
        for &steps in sizes {
            for batch in [1, 3] {
                let x: Vec<T> = numbers(4, steps * batch * config.input_size, 2.0);
                let expected = forward(&same, &x, steps);
                let what = format!("{config:?} {way:?} {steps} {batch} {}", small.level().isa());
                assert!(expected.y == forward(&small, &x, steps).y, "{what}");
                if config.bidirectional {
                    continue;
                }
                let mut y = vec![T::ZERO; expected.y.len()];
                for block in [1, 4] {
                    let mut stream = small.stream_of_blocks(batch, block).unwrap();
                    small.block(&mut stream, &x, &mut y).unwrap();
                    assert!(expected.y == y, "stream of {block}: {what}");
                    assert_eq!(small.stream_state(&stream), expected.states);
                }
            }
        }
    }
}

#[test]
fn one_row_gives_the_bits_of_many() {
    for level in levels() {
        for kind in KINDS {
            for inputs in [1, 8, 9, 64] {
                for hidden in [5, 16, 32, 40, 64, 128] {
                    let config = Config::new(kind, inputs, hidden);
                    judge::<f32>(&drawn(config, level), &[1, 3]);
                    judge::<f64>(&drawn(config, level), &[3]);
                }
            }
        }
        // More than the second cache holds.
        for (kind, hidden) in [(LSTM, 370), (KINDS[2], 440), (KINDS[4], 736)] {
            judge::<f32>(&drawn(Config::new(kind, 9, hidden), level), &[1, 2]);
            judge::<f64>(&drawn(Config::new(kind, 9, hidden), level), &[1]);
        }
        // Longer than a chunk; units that fill no tile; f64 where f32 has several runs.
        judge::<f32>(&drawn(Config::new(LSTM, 9, 90), level), &[100]);
        judge::<f32>(&drawn(Config::new(KINDS[2], 3, 150), level), &[100]);
        judge::<f64>(&drawn(Config::new(KINDS[4], 3, 150), level), &[100]);
    }
}

#[test]
fn layers_directions_and_projections_do_too() {
    for level in levels() {
        for kind in [LSTM, KINDS[2], KINDS[4]] {
            let deep = Config { num_layers: 3, ..Config::new(kind, 3, 130) };
            judge::<f32>(&drawn(deep, level), &[1, 7]);
            judge::<f32>(&drawn(Config { bidirectional: true, ..deep }, level), &[1, 7]);
        }
        judge::<f32>(&drawn(Config { proj_size: 17, ..Config::new(LSTM, 3, 130) }, level), &[1, 7]);
    }
}

#[test]
fn cells_without_a_kernel_for_a_row_do_too() {
    for level in levels() {
        let net = Network::<f32>::with_cell::<TwoMaps>(Config::new(LSTM, 3, 130), level).unwrap();
        let len = net.parameters().len();
        judge(&net.with_parameters(numbers(5, len, 0.2)).unwrap(), &[1, 7]);
    }
}

#[test]
fn the_way_back_is_that_of_the_rounded_weights() {
    let level = Level::best();
    for way in WAYS {
        let [small, same] = pair(&drawn::<f32>(Config::new(LSTM, 9, 130), level), way);
        let (steps, x) = (20, numbers(6, 20 * 9, 2.0));
        let gradients = [&small, &same].map(|net| {
            let x = View::time_major(&x, 1, 9);
            let input = Input { x, steps, batch: 1, states: None, lengths: None, resets: None };
            let (output, tape) = net.record(&input, Recording::default(), None).unwrap();
            let losses = Losses { y: View::time_major(&output.y, 1, 130), states: None };
            net.backward(&tape, &losses, None, None).unwrap()
        });
        assert!(gradients[0].parameters == gradients[1].parameters);
        assert!(gradients[0].x == gradients[1].x);
    }
}

/// The rows of `weight_ih` of a net of one input are numbers of their own: only `weight_hh` rounds.
#[test]
fn what_is_rounded_is_each_row_of_the_matrices() {
    let net = drawn::<f32>(Config::new(LSTM, 1, 40), Level::best());
    let (w_ih, w_hh) = (4 * 40, 4 * 40 * 40);
    fn rounded<W: Weight<f32>>(row: &[f32]) -> Vec<f32> {
        let mut to = vec![W::ZERO; row.len()];
        let scale = W::store(row, &mut to);
        to.into_iter().map(|n| W::weight(n, scale)).collect()
    }
    for way in WAYS {
        let small = net.compressed(way).unwrap();
        let of = |row| match way {
            Storage::Int8 => rounded::<Int8>(row),
            _ => rounded::<Float16>(row),
        };
        let old = net.parameters();
        let mut expected: Vec<f32> = old[..w_ih].chunks(1).flat_map(of).collect();
        expected.extend(old[w_ih..w_ih + w_hh].chunks(40).flat_map(of));
        expected.extend(&old[w_ih + w_hh..]);
        assert!(small.parameters() == expected);
    }
}

#[test]
fn what_was_rounded_stays_and_what_is_new_is_rounded() {
    let level = Level::best();
    for way in WAYS {
        // Many rows: of a hundred, one has a largest weight whose quotient is its scale's neighbour.
        let config = Config::new(LSTM, 64, 100);
        let small = drawn::<f32>(config, level).compressed(way).unwrap();
        let old = small.parameters().to_vec();
        assert!(small.with_parameters(old.clone()).unwrap().parameters() == old);
        assert!(small.compressed(way).unwrap().parameters() == old);
        let full = small.compressed(Storage::Full).unwrap();
        assert!(full.parameters() == old && full.storage() == Storage::Full);
        let double = drawn::<f64>(config, level).compressed(way).unwrap();
        let again = double.with_parameters(double.parameters().to_vec()).unwrap();
        assert!(again.parameters() == double.parameters());

        let mut moved = small.compressed(way).unwrap();
        let shift = |p: &mut [f32]| -> Result<(), Error> {
            p.iter_mut().enumerate().for_each(|(i, p)| *p += 1e-3 * (i % 7) as f32);
            Ok(())
        };
        moved.update(shift).unwrap();
        assert_eq!(moved.storage(), way);
        let mut expected = full;
        expected.update(shift).unwrap();
        assert!(moved.parameters() != expected.parameters());
        assert!(moved.parameters() == expected.compressed(way).unwrap().parameters());
        let x = numbers(7, 5 * 64, 2.0);
        let same = expected.with_parameters(moved.parameters().to_vec()).unwrap();
        assert!(forward(&moved, &x, 5).y == forward(&same, &x, 5).y);
        // The same at another level, packed anew.
        moved.set_level(Level::get(Isa::Portable).unwrap()).unwrap();
        let mut same = same;
        same.set_level(moved.level()).unwrap();
        assert!(forward(&moved, &x, 5).y == forward(&same, &x, 5).y);
    }
}

#[test]
fn weights_that_are_not_finite_are_refused() {
    let net = drawn::<f32>(Config::new(LSTM, 2, 40), Level::best());
    for bad in [f32::NAN, f32::INFINITY] {
        let mut parameters = net.parameters().to_vec();
        parameters[5] = bad;
        let with = net.with_parameters(parameters.clone()).unwrap();
        for way in WAYS {
            let invalid = Err(Error::Invalid {
                argument: "weights",
                expected: "finite numbers, to be stored smaller",
            });
            assert_eq!(with.compressed(way).map(|_| ()), invalid);
            let small = net.compressed(way).unwrap();
            assert_eq!(small.with_parameters(parameters.clone()).map(|_| ()), invalid);
        }
        // Biases are stored as they are.
        let mut parameters = net.parameters().to_vec();
        *parameters.last_mut().unwrap() = bad;
        assert!(net.compressed(Storage::Int8).unwrap().with_parameters(parameters).is_ok());
    }
}
