//! What denormal numbers cost on this machine: arithmetic whose operands or results are denormal, and the
//! streaming steps of cells whose input has gone silent (see `tests/silence.rs`).
//!
//! `cargo bench --bench silence`.

#[path = "../tests/silence/mod.rs"]
mod cells;

use std::hint::black_box;
use std::time::Instant;
use unrolled::simd::{Element, Isa, Kernel, Level, Simd};

const CHAINS: usize = 12;
const ROUNDS: usize = 2000;

/// The operation that `Chained` repeats.
const MULTIPLY_ADD: u8 = 0;
const MULTIPLY: u8 = 1;
const ADD: u8 = 2;
const DIVIDE: u8 = 3;

/// v = v · a + b (or without one of the two, or v / a), in independent chains: each waits for itself alone.
struct Chained<const OPERATION: u8> {
    start: f32,
    a: f32,
    b: f32,
}

impl<const OPERATION: u8> Kernel<f32> for Chained<OPERATION> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd<f32>>(self, s: S) -> f32 {
        let (a, b) = (s.splat(self.a), s.splat(self.b));
        let mut chains = [s.splat(self.start); CHAINS];
        for _ in 0..ROUNDS {
            for v in &mut chains {
                *v = match OPERATION {
                    MULTIPLY_ADD => s.mul_add(*v, a, b),
                    MULTIPLY => s.mul(*v, a),
                    ADD => s.add(*v, b),
                    _ => s.div(*v, a),
                };
            }
        }
        let sum = chains.into_iter().fold(s.zero(), |x, y| s.add(x, y));
        let mut out = [0.0; 16];
        s.store(&mut out, sum);
        out[0]
    }
}

/// Median nanoseconds of one operation on a vector.
fn nanoseconds<const OPERATION: u8>(level: Level, [start, a, b]: [f32; 3]) -> f64 {
    let mut each: Vec<f64> = (0..101)
        .map(|_| {
            let begun = Instant::now();
            let kernel = black_box(Chained::<OPERATION> { start, a, b });
            black_box(f32::dispatch(level, kernel));
            begun.elapsed().as_secs_f64() * 1e9 / (CHAINS * ROUNDS) as f64
        })
        .collect();
    each.sort_by(f64::total_cmp);
    each[each.len() / 2]
}

fn main() {
    // Each value stays what it is at the start, for all the rounds. 1e-40 is denormal.
    let cases = [
        ("all normal", [1.0, 1.0, 1e-30]),
        ("v denormal, before and after", [1e-40, 1.0, 0.0]),
        ("a denormal (not divided by)", [1.0, 1e-40, 1.0]),
        ("b denormal", [1.0, 1.0, 1e-40]),
        ("v · a denormal, v · a + b not", [1e-20, 1e-20, 1e-20]),
    ];
    for isa in Isa::ALL {
        let Some(level) = Level::get(isa) else {
            println!("{isa}: not run, this machine lacks it");
            continue;
        };
        println!("{isa}, ns for a vector{:>31}{:>9}{:>9}{:>9}", "v·a + b", "v·a", "v + b", "v / a");
        for (name, operands) in cases {
            // Alone, a product or quotient keeps its value only where a is 1.
            let keeps = operands[1] == 1.0;
            let shown = |ns: f64| if keeps { format!("{ns:>9.3}") } else { format!("{:>9}", "") };
            println!(
                "  {name:<44}{:>9.3}{}{:>9.3}{}",
                nanoseconds::<MULTIPLY_ADD>(level, operands),
                shown(nanoseconds::<MULTIPLY>(level, operands)),
                nanoseconds::<ADD>(level, operands),
                shown(nanoseconds::<DIVIDE>(level, operands)),
            );
        }
    }
    println!("a step of cells that forget slowly, {} inputs, {} units", cells::I, cells::H);
    cells::fixed_cells().iter().for_each(print);
    cells::streams().iter().for_each(print);
}

fn print(outcome: &cells::Outcome) {
    let cells::Outcome { name, denormal, loud, silent } = outcome;
    let (loud, silent) = (loud * 1e9, silent * 1e9);
    let of = cells::H;
    println!(
        "  {name:<32} noise {loud:>7.1} ns   silence {silent:>7.1} ns   ({denormal} of {of} denormal)"
    );
}
