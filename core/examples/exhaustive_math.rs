//! Every f32 there is, through every function, on every level this machine has:
//! prints the greatest error of each and fails if one is above its bound.
//!
//! ```text
//! cargo run --release --example exhaustive_math [stride [function]]
//! ```

#[path = "../tests/math_judge/mod.rs"]
#[allow(dead_code)]
mod judge;

use judge::{Function, Worst, judge_f32};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use unrolled::simd::{Isa, Level};

/// Patterns judged between two looks at the counter.
const CHUNK: u64 = 1 << 16;

/// The verdict on `function`, one per level.
fn scan(levels: &[Level], function: Function, stride: u64) -> Vec<Worst> {
    let next = AtomicU64::new(0);
    let verdicts = Mutex::new(vec![Worst::default(); levels.len()]);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, |n| n.get()) {
            scope.spawn(|| {
                loop {
                    let from = next.fetch_add(CHUNK * stride, Ordering::Relaxed);
                    if from >= 1 << 32 {
                        break;
                    }
                    let chunk = (from..from + CHUNK * stride).step_by(stride as usize);
                    let x: Vec<f32> = chunk.map(|bits| f32::from_bits(bits as u32)).collect();
                    let found = judge_f32(levels, function, &x);
                    for (all, new) in verdicts.lock().unwrap().iter_mut().zip(found) {
                        all.join(new);
                    }
                    if from.is_multiple_of(1 << 29) {
                        eprintln!("{} {} %", function.name(), (from * 100) >> 32);
                    }
                }
            });
        }
    });
    verdicts.into_inner().unwrap()
}

fn main() {
    let stride = std::env::args().nth(1).map_or(1, |s| s.parse().expect("stride: a number"));
    let only = std::env::args().nth(2);
    let mut levels = Vec::new();
    for isa in Isa::ALL {
        match Level::get(isa) {
            Some(level) => levels.push(level),
            None => println!("{isa}: not run, this machine lacks it"),
        }
    }
    let mut failed = false;
    let chosen = |f: &Function| only.as_ref().is_none_or(|name| f.name() == name);
    let functions: Vec<_> = Function::ALL.into_iter().filter(chosen).collect();
    assert!(!functions.is_empty(), "no function of that name");
    for function in functions {
        for (level, worst) in levels.iter().zip(scan(&levels, function, stride)) {
            let bound = function.bound(*level);
            let ok = worst.within(bound);
            failed |= !ok;
            println!(
                "{:<13} {:<9} {:.4} ULP at {:e} (bound {bound}) {}{}",
                function.name(),
                level.isa().name(),
                worst.ulp,
                worst.at,
                if ok { "ok" } else { "FAILED" },
                worst.fault.map_or(String::new(), |f| format!(": {f}")),
            );
        }
    }
    std::process::exit(failed.into());
}
