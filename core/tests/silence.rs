//! A stream whose input goes silent keeps its speed. Its states decay, and those that decay slowly never reach
//! zero: rounding to nearest holds them at some denormal number (4 · 2⁻¹⁴⁹ · 0.9 is 4 · 2⁻¹⁴⁹ again), which every
//! further step then meets. Processors differ: some take a hundred cycles more for each such operand, some none.
#![cfg(feature = "alloc")]

#[path = "silence/mod.rs"]
mod cells;

use cells::{H, Outcome, fixed_cells, streams};

/// How much longer a step in silence may take: far below what denormals cost where they cost anything.
const LIMIT: f64 = 3.0;

fn judge(outcome: &Outcome) -> Result<(), String> {
    let Outcome { name, denormal, loud, silent } = outcome;
    let times = silent / loud;
    println!("{name}: {denormal} of {H} states denormal, a step takes {times:.2} times as long");
    if denormal * 2 <= H {
        return Err(format!("{name}: only {denormal} states came to rest at denormals"));
    }
    if cfg!(debug_assertions) {
        println!("{name}: times not judged, this build is not optimised (cargo test --release)");
        return Ok(());
    }
    if times < LIMIT {
        Ok(())
    } else {
        Err(format!("{name}: silence slows a step {times:.1} times"))
    }
}

#[test]
fn silence_does_not_slow_a_stream() {
    for outcome in fixed_cells().into_iter().chain(streams()) {
        judge(&outcome).unwrap();
    }
}

#[test]
fn the_judge_can_condemn() {
    let outcome = |denormal, silent| Outcome { name: "x".into(), denormal, loud: 1e-7, silent };
    assert!(judge(&outcome(H, 1.1e-7)).is_ok());
    assert!(judge(&outcome(0, 1.1e-7)).is_err(), "nothing was denormal");
    assert!(cfg!(debug_assertions) || judge(&outcome(H, 4e-7)).is_err(), "four times as long");
}
