//! The elementary functions against the truth, on every level of this machine.

#[allow(dead_code)]
mod math_judge;

use math_judge::{Function, POW, Worst, apply, apply_pow, check, judge_f32, ulp_f32};
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

/// The first table `tools/math_truth.py` makes: per function x, nearest f64, rest in units in the last place.
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
    records.chunks(records.len() / 7).map(<[_]>::to_vec).collect()
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
        let mut truth = table[match function {
            Function::Exp => 0,
            Function::Tanh | Function::FastTanh => 1,
            Function::Sigmoid | Function::FastSigmoid => 2,
            Function::Log => 3,
            Function::Sin => 4,
            Function::Cos => 5,
            Function::Softplus | Function::LogSigmoid => 6,
        }]
        .clone();
        if function == Function::LogSigmoid {
            truth = truth.into_iter().map(|(x, y, rest)| (-x, -y, -rest)).collect();
        }
        let x: Vec<f64> = truth.iter().map(|t| t.0).collect();
        let mut fused: Option<Vec<f64>> = None;
        for level in levels() {
            let y = apply(level, function, &x);
            let mut worst = Worst::default();
            for (&y, &(x, nearest, rest)) in y.iter().zip(&truth) {
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
        let x = [-inf, -1.0, -0.0, 0.0, 1.0, inf].map(&of);
        let same = |function, wanted: [f64; 6]| {
            for (y, wanted) in run(function, &x).into_iter().zip(wanted) {
                assert!(
                    y.to_bits() == wanted.to_bits() || y.is_nan() && wanted.is_nan(),
                    "{function:?}: {y}, not {wanted}"
                );
            }
        };
        // At ±1 whatever comes: the tables judge it.
        let [sine, cosine] = [Function::Sin, Function::Cos].map(|f| run(f, &x)[4]);
        same(Function::Sin, [nan, -sine, -0.0, 0.0, sine, nan]);
        same(Function::Cos, [nan, cosine, 1.0, 1.0, cosine, nan]);
        same(Function::Log, [nan, nan, -inf, -inf, 0.0, inf]);
        let x = [-inf, -1e30, inf, 1e30].map(&of);
        let big = x[3].to_f64();
        assert_eq!(run(Function::Softplus, &x), [0.0, 0.0, inf, big]);
        assert_eq!(run(Function::LogSigmoid, &x), [-inf, -big, 0.0, 0.0]);
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
                exactly(Function::Sin, x.to_f64());
                exactly(Function::Cos, 1.0);
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

#[test]
fn sine_and_cosine_do_not_depend_on_other_lanes() {
    // Some lanes beyond what the vectors reduce, in every position.
    for level in levels() {
        for function in [Function::Sin, Function::Cos] {
            let alone = apply(level, function, &[0.7_f32; 32])[0];
            let far = apply(level, function, &[1e30_f32; 32])[0];
            for lane in 0..32 {
                let mut x = [0.7_f32; 32];
                x[lane] = 1e30;
                for (at, y) in apply(level, function, &x).into_iter().enumerate() {
                    assert_eq!(y, if at == lane { far } else { alone });
                }
            }
        }
    }
}

#[test]
fn pow_f32_within_bounds() {
    // Bases of every size and near 1, exponents that fill the range of results and lie beyond it.
    let mut bases: Vec<f32> = (1..0x7f80_0000).step_by(2_000_003).map(f32::from_bits).collect();
    for k in 0..1000_u32 {
        bases.extend([f32::from_bits(0x3f00_0000 + 16_411 * k), 1.0 + k as f32 * 1e-6]);
    }
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for (k, &base) in bases.iter().enumerate() {
        for step in -60..=60_i32 {
            let exponent = f64::from(step) * 1.77 + (k % 17) as f64 / 10.0;
            a.push(base);
            b.push((exponent / libm::log(base.into()).abs().max(1e-30)) as f32);
        }
        for exponent in [0.5, -0.5, 2.0, 3.0, -1.0, 1.0 / 3.0] {
            a.push(base);
            b.push(exponent);
        }
    }
    let mut fused: Option<Vec<f32>> = None;
    for level in levels() {
        let y = apply_pow(level, &a, &b);
        let mut worst = (0.0, 0.0, 0.0);
        for ((&a, &b), &y) in a.iter().zip(&b).zip(&y) {
            let beyond = 2.0 * 2.0_f64.powi(127);
            let truth = libm::pow(a.into(), b.into()).min(beyond);
            let ulp = ulp_f32(truth.min(f32::MAX.into()));
            let error = (f64::from(y).min(beyond) - truth).abs() / ulp;
            assert!(!y.is_nan(), "{a:e} ** {b:e}");
            if error > worst.0 {
                worst = (error, a.into(), b.into());
            }
        }
        let (ulp, a, b) = worst;
        println!("pow {} {ulp:.4} ULP at {a:e} ** {b:e}", level.isa());
        assert!(ulp <= POW[0], "pow on {}: {ulp} ULP at {a:e} ** {b:e}", level.isa());
        if level.fuses() {
            assert_eq!(&y, fused.get_or_insert(y.clone()), "levels that fuse must agree");
        }
    }
}

#[test]
fn pow_f64_within_bounds() {
    let records: Vec<[f64; 4]> = include_bytes!("data/math_pow_f64.bin")
        .chunks_exact(28)
        .map(|r| {
            let value = |at: usize| f64::from_le_bytes(r[at..at + 8].try_into().unwrap());
            let rest = f32::from_le_bytes(r[24..28].try_into().unwrap());
            [value(0), value(8), value(16), rest.into()]
        })
        .collect();
    let a: Vec<f64> = records.iter().map(|r| r[0]).collect();
    let b: Vec<f64> = records.iter().map(|r| r[1]).collect();
    let mut fused: Option<Vec<f64>> = None;
    for level in levels() {
        let y = apply_pow(level, &a, &b);
        let mut worst = [(0.0, 0.0, 0.0); 2];
        for (&y, &[a, b, nearest, rest]) in y.iter().zip(&records) {
            let error = ((y - nearest) / ulp_f64(nearest) - rest).abs();
            assert!(!error.is_nan(), "{a:e} ** {b:e}: {y:e}, not {nearest:e}");
            let worst = &mut worst[usize::from((b * libm::log(a)).abs() > 100.0)];
            if error > worst.0 {
                *worst = (error, a, b);
            }
        }
        for ((ulp, a, b), bound) in worst.into_iter().zip([POW[1], POW[2]]) {
            println!("pow {} {ulp:.4} ULP at {a:e} ** {b:e}", level.isa());
            assert!(ulp <= bound, "pow on {}: {ulp} ULP at {a:e} ** {b:e}", level.isa());
        }
        if level.fuses() {
            assert_eq!(&y, fused.get_or_insert(y.clone()), "levels that fuse must agree");
        }
    }
}

/// Bases and exponents of every kind, against C's pow.
fn pow_specials<T: Element>(of: impl Fn(f64) -> T, tiny: T, even: f64) {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    let mut values: Vec<T> = [0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 2.5, 1e30, even, even - 1.0, inf]
        .iter()
        .flat_map(|&x| [of(x), of(-x)])
        .collect();
    values.extend([tiny, -tiny, of(nan)]);
    for level in levels() {
        for &b in &values {
            let y = apply_pow(level, &values, &vec![b; values.len()]);
            for (&a, y) in values.iter().zip(y) {
                let (y, a, b) = (y.to_f64(), a.to_f64(), b.to_f64());
                let wanted = of(libm::pow(a, b)).to_f64();
                let close = (y - wanted).abs() <= 1e-6 * wanted.abs() && y.is_finite();
                let same = y == wanted || close || y.is_nan() && wanted.is_nan();
                let sign = y.is_nan() || y.is_sign_negative() == wanted.is_sign_negative();
                assert!(same && sign, "{} {a:e} ** {b:e}: {y:e}, not {wanted:e}", level.isa());
            }
        }
    }
}

#[test]
fn pow_specials_f32() {
    pow_specials(|x| x as f32, f32::from_bits(1), 16_777_216.0);
}

#[test]
fn pow_specials_f64() {
    pow_specials(|x| x, f64::from_bits(1), 9_007_199_254_740_992.0);
}
