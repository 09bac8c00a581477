//! Models of several layers: bit for bit what their layers give one after another, whatever blocks and rows a
//! sequence comes in; and what an audio thread may call asks for no memory.
#![cfg(feature = "alloc")]

use proptest::prelude::*;
use std::sync::Arc;
use unrolled::activation::Function;
use unrolled::dense::Dense;
use unrolled::network::{Input, View};
use unrolled::rng::Rng;
use unrolled::sequential::{Module, Sequential, Stream, player};
use unrolled::train::{Init, initialise};
use unrolled::{Activation, CellKind, Config, Error, Level, Network};

/// What `work` asks the allocator for, and what it frees.
fn calls(work: impl FnOnce()) -> (u64, i64) {
    let counted = allocation_counter::measure(work);
    (counted.count_total, counted.count_current)
}

fn values(rng: &mut Rng, len: usize) -> Vec<f32> {
    (0..len).map(|_| rng.uniform() as f32 * 2.0 - 1.0).collect()
}

const KINDS: [CellKind; 4] = [
    CellKind::Lstm { forget_gate: true },
    CellKind::Gru { reset_after: true },
    CellKind::Gru { reset_after: false },
    CellKind::Rnn(Activation::Tanh),
];

fn network(config: Config, seed: u64) -> Module<f32> {
    let mut net = Network::new(config, Level::best()).unwrap();
    net.update(|p| initialise(&config, Init::Uniform, 0.0, seed, p)).unwrap();
    Module::Recurrent(net)
}

fn dense(inputs: usize, outputs: usize, rng: &mut Rng) -> Module<f32> {
    let mut dense = Dense::new(inputs, outputs, true, Level::best()).unwrap();
    let parameters = values(rng, inputs * outputs + outputs);
    dense
        .update(|p: &mut [f32]| -> Result<(), Error> {
            p.copy_from_slice(&parameters);
            Ok(())
        })
        .unwrap();
    Module::Dense(dense)
}

/// Two recurrent modules with a connection over the second, a read-out, a function, and one over everything.
fn model(kind: CellKind, inputs: usize, units: usize, layers: usize, seed: u64) -> Sequential<f32> {
    let mut rng = Rng::new(seed);
    let config = Config { num_layers: layers, ..Config::new(kind, inputs, units) };
    let modules = vec![
        network(config, seed),
        network(Config::new(kind, units, units), seed + 1),
        Module::Residual { since: 1 },
        dense(units, inputs, &mut rng),
        Module::Activation(Function::Softmax),
        Module::Residual { since: 0 },
    ];
    Sequential::new(modules).unwrap()
}

/// What the modules give one after another, all of the sequence at once: (T, B, outputs).
fn whole(model: &Sequential<f32>, x: &[f32], steps: usize, batch: usize) -> Vec<f32> {
    let mut read = Vec::new();
    let mut y = x.to_vec();
    for module in model.modules() {
        read.push(y.clone());
        let width = y.len() / (steps * batch).max(1);
        match module {
            Module::Recurrent(net) => {
                let x = View::time_major(&y, batch, width);
                let input = Input { x, steps, batch, states: None, lengths: None, resets: None };
                y = net.forward(&input, None).unwrap().y;
            }
            Module::Dense(dense) => y = dense.forward(&y).unwrap(),
            Module::Activation(function) => function.apply(Level::best(), &mut y, width),
            &Module::Residual { since } => {
                let of = read[since].len() / (steps * batch);
                for (row, from) in y.chunks_mut(width).zip(read[since].chunks(of)) {
                    row.iter_mut().zip(from).for_each(|(y, x)| *y += x);
                }
            }
        }
    }
    y
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn blocks_give_what_the_sequence_gives(
        kind in prop::sample::select(&KINDS[..]), inputs in 1_usize..4, units in 4_usize..40, layers in 1_usize..3,
        steps in 1_usize..100, batch in 1_usize..5, cuts in prop::collection::vec(0_usize..70, 0..6), seed: u64,
    ) {
        let seed = seed % 1000;
        let model = Arc::new(model(kind, inputs, units, layers, seed));
        let x = values(&mut Rng::new(seed + 7), steps * batch * inputs);
        let expected = whole(&model, &x, steps, batch);
        let row = batch * inputs;

        let mut stream = Sequential::stream(&model, batch).unwrap();
        let mut y = vec![0.0; x.len()];
        let mut first = 0;
        for end in cuts.into_iter().chain([steps]).scan(0, |t, n| { *t = steps.min(*t + n); Some(*t) }).chain([steps]) {
            stream.process(&x[first * row..end * row], &mut y[first * row..end * row]).unwrap();
            first = end;
        }
        prop_assert_eq!(&y, &expected);

        stream.reset();
        let mut again = x.clone();
        stream.process_in_place(&mut again).unwrap();
        prop_assert_eq!(&again, &expected);

        stream.reset();
        let channel = |of: &[f32], n: usize| -> Vec<f32> { of.iter().skip(n).step_by(row).copied().collect() };
        let x: Vec<_> = (0..row).map(|n| channel(&x, n)).collect();
        let mut y = vec![vec![0.0; steps]; row];
        let (x, mut to): (Vec<_>, Vec<_>) =
            (x.iter().map(|x| &x[..]).collect(), y.iter_mut().map(|y| &mut y[..]).collect());
        stream.process_channels(&x, &mut to).unwrap();
        for (n, y) in y.iter().enumerate() {
            prop_assert_eq!(y, &channel(&expected, n));
        }
    }
}

fn small(kind: CellKind, units: usize) -> Arc<Sequential<f32>> {
    Arc::new(model(kind, 1, units, 1, 3))
}

#[test]
fn no_call_on_the_audio_thread_asks_for_memory() {
    for kind in KINDS {
        let (mut player, mut replacer) = player(Sequential::stream(&small(kind, 16), 2).unwrap());
        let other = Sequential::stream(&small(kind, 40), 2).unwrap();
        let (x, mut y) = ([0.3; 200], [0.0; 200]);
        let mut planar = [[0.0; 100]; 2];
        // Two channels: a row of the batch each.
        let mut play = || {
            let stream = player.stream();
            stream.process(&x, &mut y).unwrap();
            stream.process_in_place(&mut y).unwrap();
            let [left, right] = &mut planar;
            stream.process_channels(&[&x[..100], &x[100..]], &mut [left, right]).unwrap();
            stream.process(&x[..3], &mut y).unwrap_err();
            stream.reset();
        };
        assert_eq!(calls(&mut play), (0, 0), "{kind:?}");
        replacer.replace(other).unwrap();
        // The block in which one model follows another.
        assert_eq!(calls(&mut play), (0, 0), "{kind:?}");
        let (_, freed) = calls(|| assert!(replacer.free()));
        assert!(freed < 0, "the model that was left is freed here");
    }
}

#[test]
fn silence_does_not_slow_a_model() {
    let mut config = Config::new(CellKind::Rnn(Activation::Relu), 1, 32);
    config.bias = false;
    let mut net = Network::<f32>::new(config, Level::best()).unwrap();
    net.update(|p: &mut [f32]| -> Result<(), Error> {
        p[..32].fill(1.0);
        // h' = 0.9 h: it decays to denormals and stays there.
        (0..32).for_each(|u| p[32 + u * 32 + u] = 0.9);
        Ok(())
    })
    .unwrap();
    let modules = vec![Module::Recurrent(net), dense(32, 1, &mut Rng::new(1))];
    let model = Arc::new(Sequential::new(modules).unwrap());
    let mut stream = Sequential::stream(&model, 1).unwrap();
    let (mut y, silence, sound) = ([0.0; 4000], [0.0; 4000], [0.1; 4000]);
    let mut fastest = |x: &[f32]| {
        let time = |_| {
            let begin = std::time::Instant::now();
            stream.process(x, &mut y).unwrap();
            begin.elapsed().as_secs_f64()
        };
        (0..20).map(time).fold(f64::MAX, f64::min)
    };
    let (loud, silent) = (fastest(&sound), fastest(&silence));
    let denormal = stream.state()[0][0].iter().filter(|h| h.is_subnormal()).count();
    println!("{denormal} of 32 states denormal, a block takes {:.2} times as long", silent / loud);
    assert!(denormal > 16);
    assert!(cfg!(debug_assertions) || silent < 3.0 * loud);
}

#[test]
fn states_are_given_set_and_gone_back_to() {
    let kind = KINDS[0];
    let shape = |n: usize| vec![vec![0.25; n], vec![-0.5; n]];
    let make = || model(kind, 1, 8, 2, 5);
    let started = make().with_initial_state(vec![shape(16), shape(8)]).unwrap();
    let mut stream = Sequential::stream(&Arc::new(started), 3).unwrap();
    // For every row, layer by layer.
    assert_eq!(stream.state(), vec![shape(48), shape(24)]);
    let (x, mut y) = ([0.5; 30], [0.0; 30]);
    stream.process(&x, &mut y).unwrap();
    let after = stream.state();
    let mut more = [0.0; 30];
    stream.process(&x, &mut more).unwrap();
    stream.set_state(&after).unwrap();
    let mut again = [0.0; 30];
    stream.process(&x, &mut again).unwrap();
    assert_eq!(more, again);
    stream.reset();
    stream.process(&x, &mut again).unwrap();
    assert_eq!(y, again);

    let before = stream.state();
    let mut wrong = before.clone();
    wrong[1][1].pop();
    let error = stream.set_state(&wrong).unwrap_err();
    assert_eq!(error, Error::Length { argument: "states", expected: 24, got: 23 });
    assert_eq!(stream.state(), before);
    let error = make().with_initial_state(vec![shape(16)]).unwrap_err();
    assert_eq!(error, Error::Length { argument: "initial state", expected: 2, got: 1 });
    let error = make().with_initial_state(vec![shape(16), shape(9)]).unwrap_err();
    assert_eq!(error, Error::Length { argument: "initial state", expected: 8, got: 9 });
}

#[test]
fn what_does_not_fit_is_an_error() {
    let mut rng = Rng::new(1);
    let refused = |modules| Sequential::<f32>::new(modules).unwrap_err().to_string();
    assert!(refused(vec![]).contains("at least one"));
    assert!(refused(vec![Module::Activation(Function::Tanh)]).contains("at least one"));
    let modules = vec![dense(1, 2, &mut rng), dense(3, 1, &mut rng)];
    assert!(refused(modules).contains("expected 2 numbers, got 3"));
    let modules = vec![Module::Residual { since: 0 }, dense(1, 2, &mut rng)];
    assert!(refused(modules).contains("earlier"));
    let modules = vec![dense(1, 2, &mut rng), Module::Residual { since: 0 }];
    assert!(refused(modules).contains("expected 2 numbers, got 1"));

    let both = Config { bidirectional: true, ..Config::new(KINDS[0], 1, 4) };
    let model = Arc::new(Sequential::new(vec![network(both, 1)]).unwrap());
    assert!(Sequential::stream(&model, 1).unwrap_err().to_string().contains("one direction"));

    let model = small(KINDS[0], 8);
    assert!(Sequential::stream(&model, 0).is_err());
    assert!(Sequential::stream(&model, usize::MAX / 8).is_err());
    let mut stream = Sequential::stream(&model, 2).unwrap();
    let mut y = [0.0; 10];
    assert!(stream.process(&[0.0; 9], &mut y).is_err());
    assert!(stream.process(&[0.0; 8], &mut y).is_err());
    assert!(stream.process_in_place(&mut y[..9]).is_err());
    assert!(stream.process_channels(&[&[0.0; 5]], &mut []).is_err());
    let [first, second] = &mut [[0.0; 5], [0.0; 5]];
    assert!(stream.process_channels(&[&[0.0; 5], &[0.0; 4]], &mut [first, second]).is_err());
    stream.process(&[], &mut []).unwrap();

    let (mut player, mut replacer) = player(stream);
    let other = |batch| -> Stream<f32> { Sequential::stream(&model, batch).unwrap() };
    let error = replacer.replace(other(3)).unwrap_err();
    assert_eq!(error, Error::Length { argument: "rows", expected: 2, got: 3 });
    // Sent twice before a block: the second plays.
    replacer.replace(other(2)).unwrap();
    let mut second = other(2);
    second.process(&[1.0; 8], &mut [0.0; 8]).unwrap();
    let state = second.state();
    replacer.replace(second).unwrap();
    assert_eq!(player.stream().state(), state);
    assert!(replacer.free() && !replacer.free());
}

#[test]
fn a_model_is_exchanged_while_it_plays() {
    let (mut player, mut replacer) = player(Sequential::stream(&small(KINDS[1], 8), 1).unwrap());
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let playing = scope.spawn(|| {
            let mut blocks = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let mut y = [0.0; 64];
                player.process(&[0.5; 64], &mut y).unwrap();
                assert!(y.iter().all(|y| y.is_finite()));
                blocks += 1;
            }
            blocks
        });
        let mut freed = 0;
        for units in (4..40).cycle() {
            if freed == 10 {
                break;
            }
            let next = Sequential::stream(&small(KINDS[1], units), 1).unwrap();
            replacer.replace(next).unwrap();
            freed += usize::from(replacer.free());
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(playing.join().unwrap() > 0);
    });
}
