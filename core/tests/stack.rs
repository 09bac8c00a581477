//! How much memory fixed cells take, as their documentation says it: of the values, to the byte; of the stack,
//! measured by the pages a thread has touched.
#![cfg(target_os = "linux")]

use std::hint::black_box;
use unrolled::cell::fixed::{Fixed, Parameters, ResetBefore, State, Tape, Variant};
use unrolled::{Gru, Lstm, Passes, Rnn};

const DOCUMENTATION: &str = include_str!("../src/cell/fixed/mod.rs");

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

/// Bytes of stack that `work` takes, in whole pages.
fn stack_of(work: impl FnOnce() + Send + 'static) -> usize {
    // More than the system keeps of threads that have ended: pages that nobody has touched.
    let stack = 64 << 20;
    let measured = std::thread::Builder::new().stack_size(stack).spawn(move || {
        let here = 0_u8;
        let address = &raw const here as usize;
        let before = touched(address);
        work();
        let after = touched(address);
        after - before
    });
    measured.unwrap().join().unwrap()
}

struct Measured {
    cell: usize,
    state: usize,
    parameters: usize,
    tape: usize,
    step: usize,
    back: usize,
}

const STEPS: usize = 64;

fn measure<
    T: Passes,
    V: Variant,
    const I: usize,
    const H: usize,
    const G: usize,
    const S: usize,
>(
    make: fn(&Parameters<T, I, H, G>) -> Fixed<T, V, I, H, G, S>,
) -> Measured {
    type Kept<T, const I: usize, const H: usize, const G: usize, const S: usize> =
        Tape<T, I, H, G, S, STEPS>;
    // The values themselves are elsewhere; what a first call does once is done.
    let cell = std::thread::Builder::new().stack_size(64 << 20);
    let cell = cell.spawn(move || {
        let mut cell = Box::new(make(&Parameters::zeros()));
        cell.step(&[T::ONE; I], &mut State { h: [T::ZERO; H], c: [T::ZERO; H] });
        let tape: Box<Kept<T, I, H, G, S>> = Box::new(cell.tape());
        let mut gradients = Box::new(Parameters::<T, I, H, G>::zeros());
        (black_box(&mut cell), black_box(&mut gradients));
        (cell, tape, gradients)
    });
    let (cell, mut tape, mut gradients) = cell.unwrap().join().unwrap();
    let (cell, own): (&'static Fixed<T, V, I, H, G, S>, _) = (Box::leak(cell), ());
    let () = own;
    let step = stack_of(|| {
        let mut state = Box::new(cell.zero_state());
        black_box(cell.step(black_box(&[T::ONE; I]), &mut state));
    });
    let back = stack_of(move || {
        let mut state = Box::new(cell.zero_state());
        for _ in 0..STEPS {
            cell.record(black_box(&[T::ONE; I]), &mut state, &mut tape).unwrap();
        }
        let (d_y, mut d_x) = (vec![[T::ONE; H]; STEPS], vec![[T::ZERO; I]; STEPS]);
        cell.backward(&mut tape, &d_y, &mut state, &mut d_x, &mut gradients).unwrap();
        black_box((tape, gradients));
    });
    Measured {
        cell: size_of::<Fixed<T, V, I, H, G, S>>(),
        state: size_of::<State<T, H>>(),
        parameters: size_of::<Parameters<T, I, H, G>>(),
        tape: size_of::<Kept<T, I, H, G, S>>(),
        step,
        back,
    }
}

#[test]
fn print() {
    let show = |name: &str, m: Measured| {
        println!(
            "{name}: cell {} state {} par {} tape {} step {} back {}",
            m.cell, m.state, m.parameters, m.tape, m.step, m.back
        );
    };
    show("lstm 1 8", measure(Lstm::<f32, 1, 8>::from_parameters));
    show("lstm 1 16", measure(Lstm::<f32, 1, 16>::from_parameters));
    show("lstm 1 32", measure(Lstm::<f32, 1, 32>::from_parameters));
    show("lstm 32 32", measure(Lstm::<f32, 32, 32>::from_parameters));
    show("lstm 1 64", measure(Lstm::<f32, 1, 64>::from_parameters));
    show("lstm 1 128", measure(Lstm::<f32, 1, 128>::from_parameters));
    show("lstm 1 64 f64", measure(Lstm::<f64, 1, 64>::from_parameters));
    show("gru 1 32", measure(Gru::<f32, 1, 32>::from_parameters));
    show("gru 1 64", measure(Gru::<f32, 1, 64>::from_parameters));
    show("gru 1 64 before", measure(Gru::<f32, 1, 64, ResetBefore>::from_parameters));
    show("gru 1 128 before", measure(Gru::<f32, 1, 128, ResetBefore>::from_parameters));
    show("rnn 1 64", measure(Rnn::<f32, 1, 64>::from_parameters));
}
