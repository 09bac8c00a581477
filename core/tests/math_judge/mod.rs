//! The judge of `unrolled::math`: runs a function on a level, compares with the truth in
//! units in the last place. The tests and the exhaustive example share it.

#[allow(dead_code)] // the other tests use the rest
#[path = "../common/tolerance.rs"]
mod tolerance;

use tolerance::entry;
use unrolled::math::{self, Math};
use unrolled::simd::{Element, Kernel, Lanes, Level, Simd};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    Exp,
    Tanh,
    Sigmoid,
    FastTanh,
    FastSigmoid,
}

impl Function {
    pub const ALL: [Function; 5] = [
        Function::Exp,
        Function::Tanh,
        Function::Sigmoid,
        Function::FastTanh,
        Function::FastSigmoid,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Function::Exp => "exp",
            Function::Tanh => "tanh",
            Function::Sigmoid => "sigmoid",
            Function::FastTanh => "fast tanh",
            Function::FastSigmoid => "fast sigmoid",
        }
    }

    /// Permitted errors, in units in the last place of the true value.
    pub fn bound(self, level: Level) -> f64 {
        match self {
            Function::Exp => const { entry("ulps.exp") },
            Function::Tanh => const { entry("ulps.tanh") },
            Function::Sigmoid => const { entry("ulps.sigmoid") },
            Function::FastTanh if level.fuses() => const { entry("ulps.fast tanh.fused") },
            Function::FastTanh => const { entry("ulps.fast tanh.unfused") },
            Function::FastSigmoid => const { entry("ulps.fast sigmoid") },
        }
    }

    /// The least magnitude whose last place counts: below it the error is absolute.
    pub fn floor(self) -> f64 {
        if self == Function::FastSigmoid { 0.5 } else { 0.0 }
    }

    /// The function in double precision: exact enough to judge single precision.
    pub fn truth(self, x: f64) -> f64 {
        match self {
            Function::Exp => libm::exp(x),
            Function::Tanh | Function::FastTanh => libm::tanh(x),
            Function::Sigmoid | Function::FastSigmoid if x < 0.0 => {
                let e = libm::exp(x);
                e / (1.0 + e)
            }
            Function::Sigmoid | Function::FastSigmoid => 1.0 / (1.0 + libm::exp(-x)),
        }
    }

    /// The greatest magnitude the results may have.
    fn limit(self) -> f64 {
        if self == Function::Exp { f64::INFINITY } else { 1.0 }
    }
}

/// Applies a function to a slice, in whole vectors.
struct Apply<'a, T> {
    function: Function,
    x: &'a [T],
    y: &'a mut [T],
}

impl<T: Element> Kernel<T> for Apply<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        macro_rules! each {
            ($f:path) => {
                for at in (0..self.x.len()).step_by(S::LANES) {
                    $f(Lanes::read::<true>(s, self.x, at)).write::<true>(self.y, at);
                }
            };
        }
        match self.function {
            Function::Exp => each!(math::exp),
            Function::Tanh => each!(math::tanh),
            Function::Sigmoid => each!(math::sigmoid),
            Function::FastTanh => each!(math::Fast::tanh),
            Function::FastSigmoid => each!(math::Fast::sigmoid),
        }
    }
}

/// `function` of every x, as `level` computes it.
pub fn apply<T: Element>(level: Level, function: Function, x: &[T]) -> Vec<T> {
    let mut y = vec![T::ZERO; x.len()];
    T::dispatch(level, Apply { function, x, y: &mut y });
    y
}

/// The greatest error met, and the first result that is wrong in kind.
#[derive(Clone, Debug, Default)]
pub struct Worst {
    pub ulp: f64,
    pub at: f64,
    pub fault: Option<String>,
}

impl Worst {
    /// Takes note of an error.
    pub fn see(&mut self, x: f64, ulp: f64) {
        if ulp > self.ulp {
            (self.ulp, self.at) = (ulp, x);
        }
    }

    pub fn blame(&mut self, what: impl FnOnce() -> String) {
        if self.fault.is_none() {
            self.fault = Some(what());
        }
    }

    pub fn join(&mut self, other: Worst) {
        self.see(other.at, other.ulp);
        if let Some(fault) = other.fault {
            self.blame(|| fault);
        }
    }

    pub fn within(&self, bound: f64) -> bool {
        self.ulp <= bound && self.fault.is_none()
    }
}

/// The distance of neighbouring f32 around `x`.
fn ulp_f32(x: f64) -> f64 {
    let exponent = ((x.to_bits() >> 52) & 0x7ff) as i64 - 1023;
    let exponent = exponent.max(-126) - 23;
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// Judges `function` at every `x` on all `levels` at once; one verdict per level.
/// Levels that fuse must agree bit for bit: the last of them is held to the first.
pub fn judge_f32(levels: &[Level], function: Function, x: &[f32]) -> Vec<Worst> {
    let truth: Vec<f64> = x.iter().map(|&x| function.truth(x.into())).collect();
    let mut fused: Option<Vec<f32>> = None;
    let mut verdicts = Vec::new();
    for &level in levels {
        let mut worst = Worst::default();
        let y = apply(level, function, x);
        for ((&x, &y), &truth) in x.iter().zip(&y).zip(&truth) {
            check(function, x.into(), y.into(), &mut worst);
            if x.is_nan() {
                continue;
            }
            // What follows the greatest f32 stands for infinity.
            let beyond = 2.0 * 2.0_f64.powi(127);
            let truth = truth.min(beyond);
            let error = (f64::from(y).min(beyond) - truth).abs()
                / ulp_f32(truth.abs().clamp(function.floor(), f32::MAX.into()));
            worst.see(x.into(), error);
        }
        if level.fuses() {
            match &fused {
                None => fused = Some(y),
                Some(first) => {
                    for ((x, y), first) in x.iter().zip(&y).zip(first) {
                        if y.to_bits() != first.to_bits() && !x.is_nan() {
                            worst
                                .blame(|| format!("{x:e}: {y:e} here, {first:e} on a lower level"));
                        }
                    }
                }
            }
        }
        verdicts.push(worst);
    }
    verdicts
}

/// What holds of every result, whatever its error: NaN for NaN alone, the sign of tanh,
/// nothing below 0 elsewhere, nothing beyond 1.
pub fn check(function: Function, x: f64, y: f64, worst: &mut Worst) {
    let name = function.name();
    if x.is_nan() != y.is_nan() {
        worst.blame(|| format!("{name}({x:e}) = {y:e}"));
    } else if !x.is_nan() {
        let odd = matches!(function, Function::Tanh | Function::FastTanh);
        let negative = odd && x.is_sign_negative();
        if y.abs() > function.limit() || y.is_sign_negative() != negative {
            worst.blame(|| format!("{name}({x:e}) = {y:e}"));
        }
    }
}
