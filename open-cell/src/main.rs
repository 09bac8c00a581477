//! The cell as a `static`, trained, and as a net with layers, directions, ragged rows, resets and checkpoints.

use open_cell::{Peephole, learn};
use unrolled::fixed::{Fixed, Parameters};
use unrolled::network::{Input, Losses, Recording, View};
use unrolled::rng::Rng;
use unrolled::train::{Init, initialise};
use unrolled::{CellKind, Config, Error, Level, Network};

const UNITS: usize = 8;

static CELL: Fixed<Peephole, f32, 1, UNITS> = Fixed::from_parameters(&WEIGHTS);
const WEIGHTS: Parameters<Peephole, f32, 1, UNITS> = {
    let mut weights = Parameters::zeros();
    weights.w_ih = [[[0.5]; UNITS]; 4];
    weights.w_hh = [[[0.1; UNITS]; UNITS]; 4];
    weights.w_p = [[0.2; UNITS]; 3];
    weights
};

fn main() -> Result<(), Error> {
    let mut state = CELL.zero_state();
    println!("a step of a static cell: {:?}", CELL.step(&[1.0], &mut state));

    let mut weights = Parameters::zeros();
    let mut rng = Rng::new(1);
    for own in weights.slices_mut() {
        own.iter_mut().for_each(|w| *w = rng.uniform() as f32 - 0.5);
    }
    let mut tape = CELL.tape::<6>();
    let mut losses = [0.0; 30_000];
    for loss in &mut losses {
        let x = [(); 6].map(|()| [if rng.uniform() < 0.5 { -0.8 } else { 0.8 }]);
        *loss = learn(&mut weights, &mut tape, (&x, x[3][0]))?;
    }
    let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
    let (first, last) = (mean(&losses[..200]), mean(&losses[29_800..]));
    println!("what it heard two steps ago: loss {first:.3} at first, {last:.4} at last");
    assert!(last * 10.0 < first);

    net(Level::best())
}

/// The gradient of the sum of the outputs, against a difference, and with checkpoints.
fn net(level: Level) -> Result<(), Error> {
    // The cell stands in for the kind.
    let kind = CellKind::Lstm { forget_gate: true };
    let config = Config { num_layers: 2, bidirectional: true, ..Config::new(kind, 3, 5) };
    let mut net = Network::<f64>::with_cell::<Peephole>(config, level)?;
    let config = *net.config();
    net.update(|p| initialise(&config, Init::Uniform, 0.0, 7, p))?;

    let (steps, batch) = (40, 4);
    let mut rng = Rng::new(2);
    let x: Vec<f64> = (0..steps * batch * 3).map(|_| rng.uniform() - 0.5).collect();
    let resets: Vec<bool> = (0..steps * batch).map(|i| i % 29 == 28).collect();
    let input = Input {
        x: View::time_major(&x, batch, 3),
        steps,
        batch,
        states: None,
        lengths: Some(&[40, 17, 1, 31]),
        resets: Some(View::time_major(&resets, batch, 1)),
    };
    let d_y = vec![1.0; steps * batch * config.output_size()];
    let losses = Losses { y: View::time_major(&d_y, batch, config.output_size()), states: None };
    let gradients = |checkpoint| -> Result<Vec<f64>, Error> {
        let recording = Recording { checkpoint, dropout: None };
        let (_, tape) = net.record(&input, recording, None)?;
        Ok(net.backward(&tape, &losses, None, None)?.parameters)
    };
    let whole = gradients(None)?;
    assert_eq!(whole, gradients(Some(0))?, "the same bits");

    let mut worst = 0.0_f64;
    let start = net.parameters().to_vec();
    for i in (0..start.len()).step_by(7) {
        let mut sum = |by: f64| -> Result<f64, Error> {
            net.update(|p| {
                p.copy_from_slice(&start);
                p[i] += by;
                Ok::<(), Error>(())
            })?;
            Ok(net.forward(&input, None)?.y.iter().sum())
        };
        let difference = (sum(1e-5)? - sum(-1e-5)?) / 2e-5;
        worst = worst.max((difference - whole[i]).abs() / whole[i].abs().max(1.0));
    }
    println!("a net of two layers and directions: gradients within {worst:.1e} of differences");
    assert!(worst < 1e-7);
    Ok(())
}
