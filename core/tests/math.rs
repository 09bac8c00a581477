//! exp, tanh and the logistic function against the truth, on every level of this machine.

#[allow(dead_code)]
mod math_judge;

use math_judge::{Function, Worst, apply, check, judge_f32};
use unrolled::simd::{Element, Isa, Level};

/// Every level by name; those this machine lacks are said to be left out.
fn levels() -> Vec<Level> {
    let mut levels = Vec::new();
    for isa in Isa::ALL {
        match Level::get(isa) {
            Some(level) => levels.push(level),
            None => println!("{isa}: not run, this machine lacks it"),
        }
    }
    levels
}

fn verdict(function: Function, level: Level, worst: &Worst) {
    let name = function.name();
    let isa = level.isa().name();
    println!("{name:<13} {isa:<9} {:.4} ULP at {:e}", worst.ulp, worst.at);
    let bound = function.bound(level);
    assert!(worst.within(bound), "{name} on {isa}: {worst:?}, bound {bound}");
}

#[test]
fn f32_within_bounds() {
    let levels = levels();
    let mut x: Vec<f32> = (0..u32::MAX).step_by(1009).map(f32::from_bits).collect();
    // Two to each side of every power of two, of both signs: where code paths meet.
    for exponent in 0..256_u32 {
        for near in -2..3_i32 {
            let bits = (exponent << 23).wrapping_add_signed(near) & 0x7fff_ffff;
            x.extend([f32::from_bits(bits), -f32::from_bits(bits)]);
        }
    }
    for function in Function::ALL {
        for (&level, worst) in levels.iter().zip(judge_f32(&levels, function, &x)) {
            verdict(function, level, &worst);
        }
    }
}

/// The table `tools/math_truth.py` makes: per function x, nearest f64, rest in units in the last place.
fn table() -> Vec<Vec<(f64, f64, f64)>> {
    let bytes = match std::env::var("UNROLLED_MATH_TRUTH") {
        Ok(path) => std::fs::read(path).expect("UNROLLED_MATH_TRUTH names a table"),
        Err(_) => include_bytes!("data/math_f64.bin").to_vec(),
    };
    let f64_at =
        |record: &[u8], at: usize| f64::from_le_bytes(record[at..at + 8].try_into().unwrap());
    let records: Vec<_> = bytes
        .chunks_exact(20)
        .map(|r| {
            let rest = f32::from_le_bytes(r[16..20].try_into().unwrap());
            (f64_at(r, 0), f64_at(r, 8), f64::from(rest))
        })
        .collect();
    records.chunks(records.len() / 3).map(<[_]>::to_vec).collect()
}

/// The distance of `y` to the next greater f64.
fn ulp_f64(y: f64) -> f64 {
    let y = y.abs();
    f64::from_bits(y.to_bits() + 1) - y
}

#[test]
fn f64_within_bounds() {
    let table = table();
    for function in Function::ALL {
        let truth = &table[match function {
            Function::Exp => 0,
            Function::Tanh | Function::FastTanh => 1,
            Function::Sigmoid | Function::FastSigmoid => 2,
        }];
        let x: Vec<f64> = truth.iter().map(|t| t.0).collect();
        let mut fused: Option<Vec<f64>> = None;
        for level in levels() {
            let y = apply(level, function, &x);
            let mut worst = Worst::default();
            for (&y, &(x, nearest, rest)) in y.iter().zip(truth) {
                check(function, x, y, &mut worst);
                let (unit, counted) =
                    (ulp_f64(nearest), ulp_f64(nearest.abs().max(function.floor())));
                worst.see(x, (((y - nearest) / unit - rest) * (unit / counted)).abs());
            }
            verdict(function, level, &worst);
            if level.fuses() {
                assert_eq!(&y, fused.get_or_insert(y.clone()), "levels that fuse must agree");
            }
        }
    }
}

/// Results that are known exactly.
fn specials<T: Element>(of: impl Fn(f64) -> T, tiny: [T; 3]) {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    for level in levels() {
        let run = |function, x: &[T]| -> Vec<f64> {
            apply(level, function, x).into_iter().map(T::to_f64).collect()
        };
        let x = [-inf, -1e30, -0.0, 0.0, 1e30, inf].map(&of);
        let signed = |y: Vec<f64>| y.into_iter().map(f64::to_bits).collect::<Vec<_>>();
        let exactly = |y: [f64; 6]| y.map(f64::to_bits).to_vec();
        assert_eq!(signed(run(Function::Exp, &x)), exactly([0.0, 0.0, 1.0, 1.0, inf, inf]));
        for tanh in [Function::Tanh, Function::FastTanh] {
            assert_eq!(signed(run(tanh, &x)), exactly([-1.0, -1.0, -0.0, 0.0, 1.0, 1.0]));
        }
        for sigmoid in [Function::Sigmoid, Function::FastSigmoid] {
            assert_eq!(signed(run(sigmoid, &x)), exactly([0.0, 0.0, 0.5, 0.5, 1.0, 1.0]));
        }
        for function in Function::ALL {
            // A NaN in one lane stays there and leaves its neighbours alone.
            for lane in 0..20 {
                let mut x = [of(0.25); 20];
                x[lane] = of(nan);
                let clean = run(function, &[of(0.25)])[0];
                for (at, y) in run(function, &x).into_iter().enumerate() {
                    assert_eq!(y.is_nan(), at == lane);
                    assert!(at == lane || y == clean);
                }
            }
        }
        // The least denormal, the greatest one, the least normal number.
        for x in tiny {
            for x in [x, -x] {
                let exactly = |function, y: f64| assert_eq!(run(function, &[x]), [y]);
                exactly(Function::Exp, 1.0);
                exactly(Function::Tanh, x.to_f64());
                exactly(Function::FastTanh, x.to_f64());
                exactly(Function::Sigmoid, 0.5);
                exactly(Function::FastSigmoid, 0.5);
            }
        }
    }
}

#[test]
fn specials_f32() {
    specials(|x| x as f32, [1, 0x7f_ffff, 0x80_0000].map(f32::from_bits));
}

#[test]
fn specials_f64() {
    specials(|x| x, [1, (1 << 52) - 1, 1 << 52].map(f64::from_bits));
}
