//! Parameters change all at once or not at all, and a tape goes with those it was recorded with.

use unrolled::dense::Dense;
use unrolled::error::Error;
use unrolled::flow::Terms;
use unrolled::gates::{CellKind, Config};
use unrolled::network::{Input, Losses, Network, Recording, View};
use unrolled::rng::Rng;
use unrolled::simd::Level;
use unrolled::tape::{Quantity, Tape};
use unrolled::train::uniform;

const STEPS: usize = 4;
const HIDDEN: usize = 5;
const X: [f32; STEPS * 2] = [0.5, -0.25, 1.0, 0.125, -1.0, 0.75, 0.25, -0.5];

fn config() -> Config {
    Config { num_layers: 2, ..Config::new(CellKind::Gru { reset_after: true }, 2, HIDDEN) }
}

fn drawn(seed: u64) -> Vec<f32> {
    let mut parameters = vec![0.0; config().num_parameters()];
    uniform(0.5, &mut Rng::new(seed), &mut parameters);
    parameters
}

fn net(seed: u64) -> Network<f32> {
    Network::new(config(), Level::best()).unwrap().with_parameters(drawn(seed)).unwrap()
}

fn input() -> Input<'static, f32> {
    let x = View::time_major(&X, 1, 2);
    Input { x, steps: STEPS, batch: 1, states: None, lengths: None, resets: None }
}

/// What every function that takes a tape says of this one.
fn errors(net: &Network<f32>, tape: &Tape<f32>) -> Vec<Option<Error>> {
    let dy = [1.0; STEPS * HIDDEN];
    let y = View::time_major(&dy, 1, HIDDEN);
    let v = [1.0; HIDDEN];
    let mut q = [1.0, 0.0, 0.0, 0.0, 0.0];
    vec![
        net.backward(tape, &Losses { y, states: None }, None, None).err(),
        net.trace(tape, 0, Quantity::State(0)).err(),
        net.step_jacobians(tape, 0, None).err(),
        net.transition(tape, 0, (2, 0), None).err(),
        net.pull_back(tape, 0, (2, 0), &v, None).err(),
        net.push_forward(tape, 0, (2, 0), &v, None).err(),
        net.lyapunov(tape, 0, &mut q, None).err(),
        net.gradient_by_lag(tape, y, 0, Terms::None, None).err(),
    ]
}

#[test]
fn a_tape_goes_with_the_parameters_it_was_recorded_with() {
    let mut first = net(1);
    let twin = first.with_parameters(drawn(2)).unwrap();
    let same = first.with_parameters(drawn(1)).unwrap();
    let (_, tape) = first.record(&input(), Recording::default(), None).unwrap();
    assert!(errors(&first, &tape).iter().all(Option::is_none));
    let recorded = first.trace(&tape, 1, Quantity::State(0)).unwrap();
    first.set_level(Level::available().next().unwrap()).unwrap();
    assert!(errors(&first, &tape).iter().all(Option::is_none));
    first.update(|_| Ok::<_, Error>(())).unwrap();
    for other in [&first, &twin, &same] {
        for error in errors(other, &tape) {
            let said = error.expect("a tape of other parameters is refused").to_string();
            assert!(
                said.ends_with("parameters have changed since the tape was recorded; record again")
            );
        }
    }
    // What it holds can still be read.
    assert_eq!(tape.trace(1, Quantity::State(0)).unwrap(), recorded);
}

#[test]
fn a_change_that_fails_changes_nothing() {
    let refuse = |parameters: &mut [f32]| {
        parameters.fill(7.0);
        Err(Error::Interrupted)
    };
    let mut net = net(1);
    let y = |net: &Network<f32>| net.forward(&input(), None).unwrap().y;
    let (before, (_, tape)) = (y(&net), net.record(&input(), Recording::default(), None).unwrap());
    assert_eq!(net.update(refuse), Err(Error::Interrupted));
    assert_eq!(net.parameters(), drawn(1));
    assert_eq!(y(&net), before);
    assert!(errors(&net, &tape).iter().all(Option::is_none));

    let mut dense = Dense::new(2, 3, true, Level::best()).unwrap();
    let draw = |parameters: &mut [f32]| {
        uniform(0.5, &mut Rng::new(3), parameters);
        Ok::<_, Error>(())
    };
    dense.update(draw).unwrap();
    let (parameters, before) = (dense.parameters().to_vec(), dense.forward(&X).unwrap());
    assert_eq!(dense.update(refuse), Err(Error::Interrupted));
    assert_eq!(dense.parameters(), parameters);
    assert_eq!(dense.forward(&X).unwrap(), before);
    let length = Error::Length { argument: "parameters", expected: 9, got: 8 };
    assert_eq!(dense.with_parameters(vec![0.0; 8]).map(|_| ()), Err(length));
    assert_eq!(dense.with_parameters(parameters).unwrap().forward(&X).unwrap(), before);
}
