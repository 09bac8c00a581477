//! The operations of every level, and of its pairs, against the same on one number.

use super::scalar::Portable as Scalar;
use super::{Element, Isa, Kernel, Lanes, Level, Pair, Simd};
use crate::real::Real;
use std::vec::Vec;

/// One operation on vectors, as values: those of b are not used by all.
type Operation = &'static str;

struct Apply<'a, T> {
    operation: Operation,
    a: &'a [T],
    b: &'a [T],
    pairs: bool,
}

impl<T: Real> Kernel<T> for Apply<'_, T> {
    type Output = Vec<f64>;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> Vec<f64> {
        if self.pairs { self.with(Pair(s)) } else { self.with(s) }
    }
}

impl<T: Real> Apply<'_, T> {
    #[inline(always)]
    fn with<S: Simd<T>>(self, s: S) -> Vec<f64> {
        let mut out = std::vec![T::ZERO; self.a.len()];
        for at in (0..out.len()).step_by(S::LANES) {
            let [a, b] = [self.a, self.b].map(|from| Lanes::read::<true>(s, from, at));
            let (yes, no) = (a.like(1.0), a.like(0.0));
            let y = match self.operation {
                "less equal" => a.if_less_equal(b, yes, no),
                "equal" => a.if_equal(b, yes, no),
                "minimum" => a.minimum(b),
                "maximum" => a.maximum(b),
                "odd" => a.if_odd(yes, no),
                "flip" => b.flip(a),
                "square root" => a.sqrt(),
                "of sign" => a.copysign(b),
                "power of two" => a.pow2(),
                "exponent" => a.split().0,
                "mantissa" => a.split().1,
                "any" => a.like(f64::from(u8::from(a.any_above(0.5)))),
                "by lane" => a.by_lane(b, |a, b| {
                    for (a, b) in a.iter().zip(b) {
                        *b += *a;
                    }
                }),
                _ => unreachable!(),
            };
            y.write::<true>(&mut out, at);
        }
        out.into_iter().map(T::to_f64).collect()
    }
}

/// Holds `operation` on every level, alone and in pairs, to `expected` of (a, b), bit for bit but for NaN; and on numbers
/// by themselves, which are the portable level of other machines.
fn hold<T: Element>(operation: Operation, of: &[(f64, f64)], expected: impl Fn(f64, f64) -> f64)
where
    Scalar: Simd<T>,
{
    let (a, b): (Vec<T>, Vec<T>) =
        of.iter().map(|&(a, b)| (T::from_f64(a), T::from_f64(b))).unzip();
    let compare = |name: &str, pairs: bool, y: Vec<f64>| {
        for ((&a, &b), y) in a.iter().zip(&b).zip(y) {
            let wanted = T::from_f64(expected(a.to_f64(), b.to_f64())).to_f64();
            let same = y.to_bits() == wanted.to_bits() || y.is_nan() && wanted.is_nan();
            assert!(same, "{operation} on {name}, pairs {pairs}: {a:?}, {b:?}: {y}, not {wanted}");
        }
    };
    for pairs in [false, true] {
        let apply = Apply { operation, a: &a, b: &b, pairs };
        compare("numbers by themselves", pairs, Simd::<T>::run(Scalar, apply));
    }
    for isa in Isa::ALL {
        let Some(level) = Level::get(isa) else {
            std::println!("{isa}: not run, this machine lacks it");
            continue;
        };
        for pairs in [false, true] {
            let y = T::dispatch(level, Apply { operation, a: &a, b: &b, pairs });
            compare(isa.name(), pairs, y);
        }
    }
}

fn hold_all<T: Element>(most: f64, least_normal: f64, greatest: f64)
where
    Scalar: Simd<T>,
{
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    let of = [-inf, -2.0, -1.0, -0.0, 0.0, 0.5, 1.0, 3.0, inf, nan];
    let two: Vec<_> = of.iter().flat_map(|&a| of.map(|b| (a, b))).collect();
    // Of two zeros either may be the smaller: only other pairs are held to the letter.
    let unequal: Vec<_> =
        two.iter().copied().filter(|&(a, b)| a != b || a.to_bits() == b.to_bits()).collect();
    hold::<T>("less equal", &two, |a, b| f64::from(u8::from(a <= b)));
    hold::<T>("equal", &two, |a, b| f64::from(u8::from(a == b)));
    let either = |a: f64, b: f64, smaller: bool| match () {
        () if a.is_nan() || b.is_nan() => f64::NAN,
        () if (a < b) == smaller => a,
        () => b,
    };
    hold::<T>("minimum", &unequal, |a, b| either(a, b, true));
    hold::<T>("maximum", &unequal, |a, b| either(a, b, false));
    hold::<T>("square root", &two, |a, _| libm::sqrt(a));
    hold::<T>("of sign", &two, libm::copysign);
    let exponents = [libm::log2(least_normal), -1.0, 0.0, 1.0, libm::log2(greatest)];
    hold::<T>("power of two", &exponents.map(|n| (n, 0.0)), |n, _| libm::exp2(n));
    hold::<T>("by lane", &two, |a, b| T::from_f64(a).to_f64() + b);

    let whole = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 101.0, 102.0, 103.0, most - 1.0, most - 2.0];
    let whole: Vec<_> =
        whole.iter().flat_map(|&n| [(n, 1.5), (-n, -0.0), (n, -inf), (-n, 7.0)]).collect();
    hold::<T>("odd", &whole, |n, _| n.abs() % 2.0);
    hold::<T>("flip", &whole, |n, v| if n.rem_euclid(4.0) < 2.0 { v } else { -v });

    let root = core::f64::consts::SQRT_2;
    let mut positive = std::vec![];
    for m in [0.7072, 0.75, 0.999, 1.0, 1.001, 1.4141, 1.4143, 1.7, 1.99] {
        for scale in [least_normal * 2.0, 0.125, 1.0, 1024.0, greatest / 2.0] {
            positive.push((m * scale, 0.0));
        }
    }
    let exponent = |a: f64| {
        let n = libm::floor(libm::log2(a));
        if a / libm::exp2(n) > root { n + 1.0 } else { n }
    };
    hold::<T>("square root", &positive, |a, _| libm::sqrt(T::from_f64(a).to_f64()));
    hold::<T>("exponent", &positive, |a, _| exponent(a));
    hold::<T>("mantissa", &positive, |a, _| a / libm::exp2(exponent(a)));

    // One lane above makes its vector; each level's vectors are of another length.
    for lane in 0..64 {
        let mut a = std::vec![T::ZERO; 64];
        a[lane] = T::ONE;
        for level in Level::available() {
            for pairs in [false, true] {
                let y = T::dispatch(level, Apply { operation: "any", a: &a, b: &a, pairs });
                let lanes = level.lanes::<T>() * if pairs { 2 } else { 1 };
                for (at, y) in y.into_iter().enumerate() {
                    assert_eq!(y == 1.0, at / lanes == lane / lanes, "{level:?} {pairs} {at}");
                }
            }
        }
    }
}

#[test]
fn operations_f32() {
    hold_all::<f32>(4_194_304.0, f32::MIN_POSITIVE.into(), 2.0_f64.powi(127));
}

#[test]
fn operations_f64() {
    hold_all::<f64>(2_251_799_813_685_248.0, f64::MIN_POSITIVE, 2.0_f64.powi(1023));
}
