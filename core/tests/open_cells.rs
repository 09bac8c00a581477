//! Cells that a user wrote: of fixed size, judged by finite differences, and the same bits in a net of run-time size.
#![cfg(feature = "alloc")]

#[path = "common/cells.rs"]
mod cells;
mod common;
#[path = "common/nets.rs"]
mod nets;

use cells::{Average, Peephole, SixSlots, TwoMaps};
use common::{Rng, assert_close, dot, tolerance};
use nets::{back, cast, levels};
use std::path::Path;
use std::process::Command;
use unrolled::cell::Cell;
use unrolled::fixed::{Fixed, Parameters, State, Tape};
use unrolled::network::{Input, Losses, Network, Recording, View};
use unrolled::simd::{Isa, Level};
use unrolled::{CellKind, Config, Passes};

/// More than a chunk of the way back.
const STEPS: usize = 70;

/// A problem for a cell, and the loss d_y · y + d_states · states.
struct Problem<C: Cell, T: Passes, const I: usize, const H: usize> {
    parameters: Parameters<C, T, I, H>,
    x: Vec<[T; I]>,
    state: State<C, T, H>,
    d_y: Vec<[T; H]>,
    d_state: State<C, T, H>,
}

/// Derivatives of the loss, and the outputs.
struct Answer<C: Cell, T: Passes, const I: usize, const H: usize> {
    y: Vec<T>,
    state: State<C, T, H>,
    d: Parameters<C, T, I, H>,
    d_x: Vec<[T; I]>,
    d_state: State<C, T, H>,
}

impl<C: Cell, T: Passes, const I: usize, const H: usize> Problem<C, T, I, H> {
    fn new(steps: usize) -> Self {
        let mut rng = Rng(5);
        let mut parameters = Parameters::zeros();
        let scale = 1.0 / (I.max(H) as f64).sqrt();
        for own in parameters.slices_mut() {
            own.iter_mut().for_each(|p| *p = T::from_f64(rng.uniform(scale)));
        }
        let mut rows = |n: usize, scale: f64| cast::<T>(&rng.vector(n, scale));
        let (x, d_y) = (rows(steps * I, 2.0), rows(steps * H, 1.0));
        let mut state = || {
            let mut state = State::zeros();
            state.as_mut().iter_mut().for_each(|own| own.copy_from_slice(&rows(H, 1.0)));
            state
        };
        Problem {
            parameters,
            x: x.as_chunks().0.to_vec(),
            state: state(),
            d_y: d_y.as_chunks().0.to_vec(),
            d_state: state(),
        }
    }

    /// By steps alone.
    fn loss(&self) -> f64 {
        let cell = Fixed::from_parameters(&self.parameters);
        let mut state = self.state;
        let mut loss = 0.0;
        for (x, d_y) in self.x.iter().zip(&self.d_y) {
            loss += dot(&back(cell.step(x, &mut state)), &back(d_y));
        }
        let flat = |state: &State<C, T, H>| back(state.as_ref().as_flattened());
        loss + dot(&flat(&state), &flat(&self.d_state))
    }

    fn solve(&self) -> Answer<C, T, I, H> {
        let cell = Box::new(Fixed::from_parameters(&self.parameters));
        let mut tape: Box<Tape<C, T, I, H, STEPS>> = Box::new(cell.tape());
        let (mut state, mut plain, mut y) = (self.state, self.state, Vec::new());
        for x in &self.x {
            y.extend_from_slice(cell.record(x, &mut state, &mut tape).unwrap());
            assert_eq!(y[y.len() - H..], *cell.step(x, &mut plain));
        }
        assert_eq!(state, plain);
        let (mut d, mut d_state) = (Parameters::zeros(), self.d_state);
        let mut d_x = vec![[T::ZERO; I]; self.x.len()];
        cell.backward(&mut tape, &self.d_y, &mut d_state, &mut d_x, &mut d).unwrap();
        Answer { y, state, d, d_x, d_state }
    }
}

/// Every derivative against central differences.
fn differences<C: Cell, const I: usize, const H: usize>() {
    let mut problem = Problem::<C, f64, I, H>::new(6);
    let Answer { d, d_x, d_state, .. } = problem.solve();
    let mut difference = |at: &dyn Fn(&mut Problem<C, f64, I, H>) -> &mut f64| {
        let step = tolerance::DIFFERENCE_STEP;
        let here = *at(&mut problem);
        let [after, before] = [step, -step].map(|by| {
            *at(&mut problem) = here + by;
            problem.loss()
        });
        *at(&mut problem) = here;
        (after - before) / (2.0 * step)
    };
    for (which, own) in d.slices().into_iter().enumerate() {
        let expected: Vec<f64> = (0..own.len())
            .map(|i| difference(&move |p| &mut p.parameters.slices_mut()[which][i]))
            .collect();
        close(&format!("d_parameters, slice {which}"), own, &expected);
    }
    let expected: Vec<f64> =
        (0..d_x.len() * I).map(|i| difference(&move |p| &mut p.x.as_flattened_mut()[i])).collect();
    close("d_x", d_x.as_flattened(), &expected);
    let d_state = d_state.as_ref().as_flattened();
    let expected: Vec<f64> = (0..d_state.len())
        .map(|i| difference(&move |p| &mut p.state.as_mut().as_flattened_mut()[i]))
        .collect();
    close("d_state", d_state, &expected);
}

/// Against the largest element or 1.
fn close(what: &str, got: &[f64], expected: &[f64]) {
    let with_one = |values: &[f64]| [values, &[1.0]].concat();
    assert_close(what, &with_one(got), &with_one(expected), tolerance::DIFFERENCE);
}

/// The bits of a net with that cell.
fn bits<C: Cell, T: Passes, const I: usize, const H: usize>(level: Level, steps: usize) {
    let problem = Problem::<C, T, I, H>::new(steps);
    let Answer { y, state, d, d_x, d_state } = problem.solve();
    let config = Config::new(CellKind::Lstm { forget_gate: true }, I, H);
    let mut net = Network::<T>::with_cell::<C>(config, level).unwrap();
    net.update(|p| {
        p.copy_from_slice(&problem.parameters.slices().concat());
        Ok::<(), unrolled::Error>(())
    })
    .unwrap();
    let input = Input {
        x: View::time_major(problem.x.as_flattened(), 1, I),
        steps,
        batch: 1,
        states: Some(problem.state.as_ref().iter().map(|own| &own[..]).collect()),
        lengths: None,
        resets: None,
    };
    let losses = Losses {
        y: View::time_major(problem.d_y.as_flattened(), 1, H),
        states: Some(problem.d_state.as_ref().iter().map(|own| &own[..]).collect()),
    };
    let (output, tape) = net.record(&input, Recording::default(), None).unwrap();
    let g = net.backward(&tape, &losses, None, None).unwrap();
    assert_eq!(y, output.y);
    assert_eq!(state.as_ref().as_flattened(), output.states.concat());
    assert_eq!(d_x.as_flattened(), g.x);
    assert_eq!(d_state.as_ref().as_flattened(), g.states.concat());
    assert_eq!(d.slices().concat(), g.parameters);
}

#[test]
fn their_gradients_are_those_of_finite_differences() {
    differences::<SixSlots, 2, 5>();
    differences::<Average, 2, 5>();
    // Whole vectors and a part of one.
    differences::<Peephole, 1, 19>();
    differences::<TwoMaps, 1, 19>();
}

#[test]
fn nets_of_them_give_the_same_bits() {
    for level in levels() {
        // The limit is the process's: one test sets it.
        Level::set_limit(level.isa());
        bits::<Peephole, f32, 3, 16>(level, STEPS);
        bits::<Peephole, f32, 1, 33>(level, 9);
        bits::<Peephole, f64, 2, 7>(level, 9);
        bits::<SixSlots, f32, 3, 16>(level, 9);
        bits::<SixSlots, f64, 2, 7>(level, 9);
        bits::<TwoMaps, f32, 1, 50>(level, 3);
        bits::<TwoMaps, f64, 2, 7>(level, 9);
        bits::<Average, f64, 2, 70>(level, 3);
    }
    Level::set_limit(Isa::Avx512);
}

#[test]
fn a_static_one_steps_and_one_made_of_its_parameters_learns() {
    const UNITS: usize = 8;
    static CELL: Fixed<Peephole, f32, 1, UNITS> = {
        let mut p = Parameters::<Peephole, f32, 1, UNITS>::zeros();
        p.w_ih = [[[0.5]; UNITS]; 4];
        p.w_p = [[0.25; UNITS]; 3];
        Fixed::from_parameters(&p)
    };
    let mut state = CELL.zero_state();
    let h = *CELL.step(&[1.0], &mut state);
    // c is zero before: i g = σ(0.5) tanh(0.5), and o sees the new c.
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let c = sigmoid(0.5) * 0.5_f64.tanh();
    let expected = sigmoid(0.5 + 0.25 * c) * c.tanh();
    assert!((f64::from(h[0]) - expected).abs() < 1e-6 && h == [h[0]; UNITS]);

    // The sum of what it has heard in eight steps, by plain gradient descent.
    let mut rng = Rng(3);
    let mut weights = Parameters::<Peephole, f32, 1, UNITS>::zeros();
    for own in weights.slices_mut() {
        own.iter_mut().for_each(|p| *p = rng.uniform(0.4) as f32);
    }
    let mut tape = CELL.tape::<8>();
    let mut losses = Vec::new();
    for _ in 0..3000 {
        let cell = Fixed::from_parameters(&weights);
        let mut gradients = Parameters::zeros();
        let mut loss = 0.0;
        for _ in 0..8 {
            tape.clear();
            let mut state = cell.zero_state();
            let x = [(); 8].map(|()| [rng.uniform(0.2) as f32]);
            for x in &x {
                cell.record(x, &mut state, &mut tape).unwrap();
            }
            let error = state.h().iter().sum::<f32>() - x.as_flattened().iter().sum::<f32>();
            loss += error * error / 8.0;
            let mut d_state = cell.zero_state();
            *d_state.h_mut() = [error / 4.0; UNITS];
            let mut d_x = [[0.0]; 8];
            cell.backward(&mut tape, &[[0.0; UNITS]; 8], &mut d_state, &mut d_x, &mut gradients)
                .unwrap();
        }
        losses.push(loss);
        for (own, d) in weights.slices_mut().into_iter().zip(gradients.slices()) {
            own.iter_mut().zip(d).for_each(|(p, d)| *p -= 0.2 * d);
        }
    }
    let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
    let (first, last) = (mean(&losses[..50]), mean(&losses[2900..]));
    assert!(last * 5.0 < first, "from {first} to {last}");
}

/// `open-cell`, at the top of the repository: a library without `std`, and a program that uses it.
#[test]
fn a_crate_of_its_own_has_a_cell_of_its_own() {
    let crate_ = Path::new(env!("CARGO_MANIFEST_DIR")).join("../open-cell");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("open-cell");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    for command in [&["build", "--lib"][..], &["run", "--features", "net"]] {
        let out = Command::new(&cargo)
            .args(command)
            .arg("--target-dir")
            .arg(&target)
            .current_dir(&crate_)
            .env_remove("RUSTFLAGS")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{command:?}: {said}");
        println!("{}", String::from_utf8_lossy(&out.stdout));
    }
    let lines = std::fs::read_to_string(crate_.join("src/lib.rs")).unwrap().lines().count();
    assert!(lines <= 80, "a cell and its training take {lines} lines");
}
