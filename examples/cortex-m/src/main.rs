//! A detector of odd samples on a Cortex-M, in an emulator: what `train.py` trained says the same, bit for bit, as in
//! Python; then it trains on what it sees. It prints what that takes, and fails where something differs.
//!
//! On a device of your own: `model::step` on each sample, and the functions of [`adapt`]; the rest measures.
#![no_std]
#![no_main]

mod adapt;
#[allow(dead_code)] // What is for the other way of multiply-add.
mod data;
mod measure;
mod model;

use adapt::{Learner, WINDOW};
use core::hint::black_box;
use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, hprintln};
use measure::{Clock, stack_of};
use panic_semihosting as _;
use unrolled::Lstm;
use unrolled::fixed::{Compressed, Int8, Parameters};

#[cfg(feature = "nightly-fma")]
use data::{ADAPTED_FUSED as ADAPTED, FUSED as EXPECTED};
#[cfg(not(feature = "nightly-fma"))]
use data::{ADAPTED_UNFUSED as ADAPTED, UNFUSED as EXPECTED};

/// A cell of twice the units: what a step takes does not depend on its weights.
static WIDE: Lstm<f32, 1, 32> = Lstm::from_parameters(&Parameters::zeros());

/// Steps that are measured together.
const MEASURED: usize = 100;

/// Whether the model says of every month what it said in Python; how many it was far off from.
fn same() -> (bool, usize) {
    let (mut state, mut same, mut odd) = (model::State::new(), true, 0);
    let mut expected = None;
    for (&month, &bits) in data::MONTHS.iter().zip(&EXPECTED) {
        odd += usize::from(expected.is_some_and(|y: f32| (y - month).abs() > 0.5));
        let [y] = model::step(&[month], &mut state);
        same &= y.to_bits() == bits;
        expected = Some(y);
    }
    (same, odd)
}

/// The same cell with weights as integers: whether it gives what the weights that these stand for give, and the
/// instructions of a step.
fn small(clock: &Clock) -> (bool, u32) {
    let compressed = Compressed::<_, _, 1, 16, Int8>::of(&model::PARAMETERS_0_0).expect("finite");
    let small = Lstm::from_compressed(&compressed);
    let whole = Lstm::from_parameters(&compressed.parameters());
    let (mut state, mut expected) = (small.zero_state(), small.zero_state());
    for &month in &data::MONTHS {
        small.step(&[month], &mut state);
        whole.step(&[month], &mut expected);
    }
    let equal = state == expected;
    let step = clock.instructions(|| {
        for _ in 0..MEASURED {
            black_box(small.step(black_box(&[0.5]), &mut state));
        }
    });
    (equal, step / MEASURED as u32)
}

/// FNV-1a over the bits of all parameters.
fn hash(slices: [&[f32]; 5]) -> u32 {
    let bits = slices.into_iter().flatten().map(|p| p.to_bits());
    bits.fold(0x811c_9dc5, |hash, bits| (hash ^ bits).wrapping_mul(0x0100_0193))
}

#[entry]
fn main() -> ! {
    let mut peripherals = cortex_m::Peripherals::take().expect("taken once");
    let clock = Clock::new(&mut peripherals.SYST);

    let (outputs, odd) = same();
    hprintln!("outputs {}", if outputs { "equal" } else { "differ" });
    hprintln!("odd {}", odd);

    let mut state = model::State::new();
    let step = clock.instructions(|| {
        for _ in 0..MEASURED {
            black_box(model::step(black_box(&[0.5]), &mut state));
        }
    });
    hprintln!("step {}", step / MEASURED as u32);
    let mut wide = WIDE.zero_state();
    let step = clock.instructions(|| {
        for _ in 0..MEASURED {
            black_box(black_box(&WIDE).step(black_box(&[0.5]), &mut wide));
        }
    });
    hprintln!("wide {}", step / MEASURED as u32);

    let (equal, step) = small(&clock);
    hprintln!("small {}", if equal { "equal" } else { "differ" });
    hprintln!("small_step {}", step);

    let mut learner = Learner::new();
    let forward = clock.instructions(|| learner.record(&data::MONTHS[..=WINDOW]));
    let backward = clock.instructions(|| learner.backward());
    let adam = clock.instructions(|| learner.update());
    hprintln!("forward {}", forward);
    hprintln!("backward {}", backward);
    hprintln!(
        "adam {}",
        adam / learner.parameters.slices().map(<[f32]>::len).iter().sum::<usize>() as u32
    );
    // PyTorch's order, which is that of Python's `state_dict`.
    let adapted = hash(learner.parameters.slices()) == ADAPTED && learner.sound;
    hprintln!("adapted {}", if adapted { "equal" } else { "differ" });

    let stack = stack_of(&mut peripherals.SYST, || {
        black_box(model::step(black_box(&[0.5]), &mut state));
    });
    hprintln!("stack {}", stack);
    let equal = outputs && adapted && equal;
    debug::exit(if equal { debug::EXIT_SUCCESS } else { debug::EXIT_FAILURE });
    loop {}
}
