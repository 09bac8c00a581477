//! Steps of fixed cells and of streams, forward and back, in functions that must not allocate, lock or wait:
//! `make sanitize` builds this with the real-time sanitizer, which ends the program where one does.
//!
//! With `allocates` or `opens` as argument a function allocates or asks the system for a file: the program must end then.
#![feature(sanitize)]

use std::hint::black_box;
use std::sync::Arc;
use unrolled::activation::Function;
use unrolled::cell::{Cell, ResetBefore};
use unrolled::fixed::{Dense, Fixed, Parameters, State, Tape};
use unrolled::math::Fast;
use unrolled::sequential::{Module, Player, Sequential, Stream, player};
use unrolled::stream::NetworkStream;
use unrolled::train::Adam;
use unrolled::{Activation, CellKind, Config, Error, Gru, Level, Lstm, Network, Passes, Rnn};

const STEPS: usize = 32;

#[sanitize(realtime = "nonblocking")]
fn steps<C: Cell, const I: usize, const H: usize>(
    cell: &Fixed<C, f32, I, H>,
    state: &mut State<C, f32, H>,
) {
    for _ in 0..STEPS {
        cell.step(black_box(&[0.5; I]), state);
        cell.step_with(Fast, black_box(&[0.5; I]), state);
    }
}

#[sanitize(realtime = "nonblocking")]
fn training<C: Cell, const I: usize, const H: usize>(
    cell: &Fixed<C, f32, I, H>,
    tape: &mut Tape<C, f32, I, H, STEPS>,
    state: &mut State<C, f32, H>,
    [weights, gradients, m, v]: &mut [Parameters<C, f32, I, H>; 4],
) -> Result<(), Error> {
    let mut d_x = [[0.0; I]; STEPS];
    for _ in 0..STEPS {
        cell.record(black_box(&[0.5; I]), state, tape)?;
    }
    cell.backward(tape, &[[1.0; H]; STEPS], state, &mut d_x, gradients)?;
    let moments = m.slices_mut().into_iter().zip(v.slices_mut());
    for ((w, g), (m, v)) in weights.slices_mut().into_iter().zip(gradients.slices()).zip(moments) {
        Adam::default().step(1, w, g, m, v)?;
    }
    Ok(())
}

fn fixed<C: Cell, const I: usize, const H: usize>(
    make: fn(&Parameters<C, f32, I, H>) -> Fixed<C, f32, I, H>,
) -> Result<(), Error> {
    let mut parameters = Box::new([const { Parameters::zeros() }; 4]);
    let cell = Box::new(make(&parameters[0]));
    let (mut state, mut tape) = (cell.zero_state(), Box::new(cell.tape()));
    steps(&cell, &mut state);
    training(&cell, &mut tape, &mut state, &mut parameters)
}

#[sanitize(realtime = "nonblocking")]
fn stream_steps<T: Passes>(
    net: &Network<T>,
    stream: &mut NetworkStream<T>,
    x: &[T],
    y: &mut [T],
) -> Result<(), Error> {
    (0..STEPS).try_for_each(|_| net.step(stream, black_box(x), y))
}

fn run_time<T: Passes>(config: Config, batch: usize) -> Result<(), Error> {
    for level in Level::available() {
        let net = Network::<T>::new(config, level)?;
        let mut stream = net.stream(batch)?;
        let x = vec![T::ONE; batch * config.input_size];
        let mut y = vec![T::ZERO; batch * config.output_size()];
        stream_steps(&net, &mut stream, &x, &mut y)?;
    }
    Ok(())
}

#[sanitize(realtime = "nonblocking")]
fn blocks(player: &mut Player<f32>, x: &[f32], y: &mut [f32]) -> Result<(), Error> {
    for len in [1, 32, 100] {
        player.process(black_box(&x[..len]), &mut y[..len])?;
    }
    player.stream().process_in_place(y)?;
    let (left, right) = y.split_at_mut(50);
    let stream = player.stream();
    stream.reset();
    // Of a mono model: two channels would be two rows.
    stream.process_channels(&[&x[..50]], &mut [left])?;
    stream.process_channels(&[&x[50..]], &mut [right])
}

/// A model that plays, and in the middle of it another.
fn model(kind: CellKind) -> Result<(), Error> {
    let make = |units| -> Result<Stream<f32>, Error> {
        let level = Level::best();
        let modules = vec![
            Module::Recurrent(Network::new(Config::new(kind, 1, units), level)?),
            Module::Activation(Function::Elu { alpha: 1.0 }),
            Module::Dense(unrolled::dense::Dense::new(units, 1, true, level)?),
            Module::Residual { since: 0 },
        ];
        Sequential::stream(&Arc::new(Sequential::new(modules)?), 1)
    };
    let (mut player, mut replacer) = player(make(20)?);
    // What a decaying state comes to as well: the smallest numbers there are.
    let (mut x, mut y) = ([0.0; 100], [0.0; 100]);
    for next in [40, 64] {
        (x[0], x[1]) = (1.0, f32::from_bits(1));
        blocks(&mut player, &x, &mut y)?;
        replacer.replace(make(next)?)?;
    }
    blocks(&mut player, &x, &mut y)
}

#[sanitize(realtime = "nonblocking")]
fn read_out(layer: &Dense<f32, 20, 3>, x: &[f32; 20]) -> [f32; 3] {
    layer.forward(x)
}

#[sanitize(realtime = "nonblocking")]
fn allocates() -> Box<[u8; 64]> {
    Box::new([1; 64])
}

#[sanitize(realtime = "nonblocking")]
fn opens() -> bool {
    std::fs::File::open("/dev/null").is_ok()
}

fn main() -> Result<(), Error> {
    match std::env::args().nth(1).as_deref() {
        Some("allocates") => drop(black_box(allocates())),
        Some("opens") => println!("a file: {}", opens()),
        _ => {}
    }
    // The first call in a process asks the environment for a limit.
    black_box(Level::best());
    fixed(Lstm::<f32, 1, 20>::from_parameters)?;
    fixed(Lstm::<f32, 3, 64>::from_parameters)?;
    fixed(Gru::<f32, 1, 33>::from_parameters)?;
    fixed(Gru::<f32, 2, 16, ResetBefore>::from_parameters)?;
    fixed(Rnn::<f32, 5, 70>::from_parameters)?;
    black_box(read_out(&Dense::new([[0.1; 20]; 3], [0.0; 3]), &[1.0; 20]));

    for forget_gate in [true, false] {
        let lstm = CellKind::Lstm { forget_gate };
        run_time::<f32>(Config { num_layers: 2, proj_size: 5, ..Config::new(lstm, 3, 20) }, 1)?;
        run_time::<f32>(Config::new(lstm, 1, 16), 1)?;
        run_time::<f64>(Config::new(lstm, 7, 70), 5)?;
    }
    for kind in [CellKind::Lstm { forget_gate: true }, CellKind::Gru { reset_after: true }] {
        model(kind)?;
    }
    for reset_after in [true, false] {
        run_time::<f32>(Config::new(CellKind::Gru { reset_after }, 3, 20), 1)?;
    }
    run_time::<f32>(Config::new(CellKind::Rnn(Activation::Relu), 3, 200), 1)
}
