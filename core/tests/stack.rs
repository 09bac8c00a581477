//! How much memory fixed cells take, as their documentation says it: of the values, to the byte; of the stack,
//! measured by the pages a thread has touched.
#![cfg(all(target_os = "linux", target_pointer_width = "64", feature = "alloc"))]

use std::hint::black_box;
use unrolled::cell::{Array, Cell, ResetBefore};
use unrolled::fixed::{Fixed, Parameters, State, Tape};
use unrolled::{Gru, Lstm, Passes, Rnn};

const DOCUMENTATION: &str = include_str!("../src/fixed/mod.rs");
const STEPS: usize = 64;
/// What the documentation allows a call to take beside its arguments and some values for each unit.
const MOST: usize = 4 << 10;

/// Bytes of the pages touched of the mapping that holds `address`.
fn touched(address: usize) -> usize {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut within = false;
    for line in maps.lines() {
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        let hex = |text| usize::from_str_radix(text, 16).ok();
        if let Some((start, end)) = range.and_then(|(a, b)| hex(a).zip(hex(b))) {
            within = (start..end).contains(&address);
        } else if let Some(size) = line.strip_prefix("Rss:").filter(|_| within) {
            return 1024 * size.trim().trim_end_matches(" kB").parse::<usize>().unwrap();
        }
    }
    panic!("no mapping holds the stack");
}

/// A function of its own, whose frame is not there before.
#[inline(never)]
fn apart<R>(work: impl FnOnce() -> R) -> R {
    work()
}

/// What `work` returns, and the bytes of stack it takes more than it takes to ask, in whole pages.
fn stack_of<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> (R, usize) {
    // More than the system keeps of threads that have ended: pages that nobody has touched.
    let thread = std::thread::Builder::new().stack_size(64 << 20);
    let measured = thread.spawn(move || {
        let here = 0_u8;
        let address = &raw const here as usize;
        let before = touched(address);
        let result = apart(work);
        (result, touched(address) - before)
    });
    measured.unwrap().join().unwrap()
}

fn judge<C: Cell, T: Passes, const I: usize, const H: usize>(
    name: &str,
    make: fn(&Parameters<C, T, I, H>) -> Fixed<C, T, I, H>,
) where
    Fixed<C, T, I, H>: Send,
    Parameters<C, T, I, H>: Send,
    Tape<C, T, I, H, STEPS>: Send,
{
    let sizes = [
        size_of::<Fixed<C, T, I, H>>(),
        size_of::<Parameters<C, T, I, H>>(),
        size_of::<State<C, T, H>>(),
        size_of::<Tape<C, T, I, H, STEPS>>(),
    ]
    .map(|size| size.to_string());
    let line = format!("//! | `{name}` | {} |\n", sizes.join(" | "));
    assert!(DOCUMENTATION.contains(&line), "the documentation lacks {line}");
    if cfg!(debug_assertions) {
        println!("{name}: stack not measured, this build is not optimised (cargo test --release)");
        return;
    }

    // The values are elsewhere, and what a first call does once is done.
    let ((cell, mut tape, mut gradients), made) = stack_of(move || {
        let cell = Box::new(make(&Parameters::zeros()));
        cell.step(&[T::ONE; I], &mut Box::new(cell.zero_state()));
        let tape: Box<Tape<C, T, I, H, STEPS>> = Box::new(cell.tape());
        (cell, tape, Box::new(Parameters::<C, T, I, H>::zeros()))
    });
    let (cell, step) = stack_of(move || {
        let mut state = Box::new(cell.zero_state());
        black_box(cell.step(black_box(&[T::ONE; I]), &mut state));
        cell
    });
    let ((), back) = stack_of(move || {
        let mut state = Box::new(cell.zero_state());
        for _ in 0..STEPS {
            cell.record(black_box(&[T::ONE; I]), &mut state, &mut tape).unwrap();
        }
        let (d_y, mut d_x) = (vec![[T::ONE; H]; STEPS], vec![[T::ZERO; I]; STEPS]);
        cell.backward(&mut tape, &d_y, &mut state, &mut d_x, &mut gradients).unwrap();
        black_box((tape, gradients));
    });
    println!("{name}: made {made}, a step {step}, the way back {back} bytes of stack");
    let units = (C::Slots::<T>::LEN + 1) * H * size_of::<T>();
    let cell = size_of::<Fixed<C, T, I, H>>();
    assert!(made <= MOST + 3 * cell, "{name}: of {cell} bytes, made with {made}");
    assert!(step.max(back) <= MOST + units, "{name}: a step {step}, the way back {back}");
}

#[test]
fn cells_take_what_is_written() {
    judge("Lstm<f32, 1, 8>", Lstm::<f32, 1, 8>::from_parameters);
    judge("Lstm<f32, 1, 16>", Lstm::<f32, 1, 16>::from_parameters);
    judge("Lstm<f32, 1, 32>", Lstm::<f32, 1, 32>::from_parameters);
    judge("Lstm<f32, 32, 32>", Lstm::<f32, 32, 32>::from_parameters);
    judge("Lstm<f32, 1, 64>", Lstm::<f32, 1, 64>::from_parameters);
    judge("Lstm<f64, 1, 64>", Lstm::<f64, 1, 64>::from_parameters);
    judge("Lstm<f32, 1, 128>", Lstm::<f32, 1, 128>::from_parameters);
    judge("Gru<f32, 1, 32>", Gru::<f32, 1, 32>::from_parameters);
    judge("Gru<f32, 1, 64, ResetBefore>", Gru::<f32, 1, 64, ResetBefore>::from_parameters);
    judge("Rnn<f32, 1, 64>", Rnn::<f32, 1, 64>::from_parameters);
}

#[test]
fn what_takes_much_is_seen() {
    // Not known when compiled, or it would be a constant.
    let one = black_box(1_u8);
    let (_, taken) = stack_of(move || black_box(&[one; 16 * MOST])[0]);
    assert!(taken >= 8 * MOST, "{taken}");
}
