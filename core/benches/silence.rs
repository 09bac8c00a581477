//! What denormal numbers cost on this machine: multiply-adds whose operands or results are denormal, and the
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

/// sum = a · x + sum, in independent chains: nanoseconds a multiply-add.
struct MultiplyAdds {
    a: f32,
    x: f32,
    start: f32,
}

impl Kernel<f32> for MultiplyAdds {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd<f32>>(self, s: S) -> f32 {
        let (a, x) = (s.splat(self.a), s.splat(self.x));
        let mut sums = [s.splat(self.start); CHAINS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = s.mul_add(a, x, *sum);
            }
        }
        let sum = sums.into_iter().fold(s.zero(), |x, y| s.add(x, y));
        let mut out = [0.0; 16];
        s.store(&mut out, sum);
        out[0]
    }
}

fn nanoseconds(level: Level, [a, x, start]: [f32; 3]) -> f64 {
    let mut each: Vec<f64> = (0..301)
        .map(|_| {
            let begun = Instant::now();
            let kernel = black_box(MultiplyAdds { a, x, start });
            black_box(f32::dispatch(level, kernel));
            begun.elapsed().as_secs_f64() * 1e9 / (CHAINS * ROUNDS) as f64
        })
        .collect();
    each.sort_by(f64::total_cmp);
    each[each.len() / 2]
}

fn main() {
    let least = f32::MIN_POSITIVE;
    // The sums stay as small as they begin for all the rounds.
    let cases = [
        ("all normal", [1e-3, 1.0, 1.0]),
        ("zero times normal", [0.0, 1.0, 1.0]),
        ("denormal operand, normal sum", [least / 8.0, 1.0, 1.0]),
        ("denormal operand, sum of zero", [least / 1e6, 1e-30, 0.0]),
        ("denormal operand and sum", [least / 1e6, 1.0, least / 1e6]),
        ("normal operands, denormal product and sum", [1e-21, 1e-21, least / 1e6]),
    ];
    for isa in Isa::ALL {
        let Some(level) = Level::get(isa) else {
            println!("{isa}: not run, this machine lacks it");
            continue;
        };
        println!("{isa}: nanoseconds a multiply-add of vectors");
        for (name, operands) in cases {
            println!("  {name:<44}{:>8.3}", nanoseconds(level, operands));
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
