//! The judge of `unrolled::math`: runs a function on a level, compares with the truth in
//! units in the last place. The tests and the exhaustive example share it.

#[allow(dead_code)] // the other tests use the rest
#[path = "../common/tolerance.rs"]
mod tolerance;

use tolerance::entry;
use unrolled::math;
use unrolled::simd::{Element, Kernel, Lanes, Level, Simd};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    Exp,
    Tanh,
    Sigmoid,
    FastTanh,
    FastSigmoid,
    Log,
    Sin,
    Cos,
    Softplus,
    LogSigmoid,
}

impl Function {
    pub const ALL: [Function; 10] = [
        Function::Exp,
        Function::Tanh,
        Function::Sigmoid,
        Function::FastTanh,
        Function::FastSigmoid,
        Function::Log,
        Function::Sin,
        Function::Cos,
        Function::Softplus,
        Function::LogSigmoid,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Function::Exp => "exp",
            Function::Tanh => "tanh",
            Function::Sigmoid => "sigmoid",
            Function::FastTanh => "fast tanh",
            Function::FastSigmoid => "fast sigmoid",
            Function::Log => "log",
            Function::Sin => "sin",
            Function::Cos => "cos",
            Function::Softplus => "softplus",
            Function::LogSigmoid => "log sigmoid",
        }
    }

    /// Permitted errors, in units in the last place of the true value.
    pub fn bound(self, level: Level) -> f64 {
        match self {
            Function::Exp => const { entry("ulps.exp") },
            Function::Tanh => const { entry("ulps.tanh") },
            Function::Sigmoid => const { entry("ulps.sigmoid") },
            Function::Log => const { entry("ulps.log") },
            Function::Sin => const { entry("ulps.sin") },
            Function::Cos => const { entry("ulps.cos") },
            Function::Softplus => const { entry("ulps.softplus") },
            Function::LogSigmoid => const { entry("ulps.log_sigmoid") },
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
            Function::Log => libm::log(x),
            Function::Sin => libm::sin(x),
            Function::Cos => libm::cos(x),
            Function::Softplus => x.max(0.0) + libm::log1p(libm::exp(-x.abs())),
            Function::LogSigmoid => -Function::Softplus.truth(-x),
        }
    }

    /// The greatest magnitude the results may have.
    fn limit(self) -> f64 {
        match self {
            Function::Exp | Function::Log | Function::Softplus | Function::LogSigmoid => {
                f64::INFINITY
            }
            _ => 1.0,
        }
    }

    /// Whether there is no result at `x`.
    pub fn undefined(self, x: f64) -> bool {
        x.is_nan()
            || match self {
                Function::Log => x < 0.0,
                Function::Sin | Function::Cos => x.is_infinite(),
                _ => false,
            }
    }

    /// Whether the result has a minus sign, where that is known without it.
    fn negative(self, x: f64) -> Option<bool> {
        match self {
            Function::Exp | Function::Sigmoid | Function::FastSigmoid | Function::Softplus => {
                Some(false)
            }
            Function::LogSigmoid => Some(true),
            Function::Tanh | Function::FastTanh => Some(x.is_sign_negative()),
            Function::Log => Some(x < 1.0),
            Function::Sin => (x.abs() < 3.0).then_some(x.is_sign_negative()),
            Function::Cos => (x.abs() < 1.5).then_some(false),
        }
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
            Function::Log => each!(math::log),
            Function::Sin => each!(math::sin),
            Function::Cos => each!(math::cos),
            Function::Softplus => each!(math::softplus),
            Function::LogSigmoid => each!(math::log_sigmoid),
        }
    }
}

/// `function` of every x, as `level` computes it.
pub fn apply<T: Element>(level: Level, function: Function, x: &[T]) -> Vec<T> {
    let mut y = vec![T::ZERO; x.len()];
    T::dispatch(level, Apply { function, x, y: &mut y });
    y
}

/// aᵇ of every pair, in whole vectors.
struct ApplyPow<'a, T> {
    a: &'a [T],
    b: &'a [T],
    y: &'a mut [T],
}

impl<T: Element> Kernel<T> for ApplyPow<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        for at in (0..self.a.len()).step_by(S::LANES) {
            let [a, b] = [self.a, self.b].map(|from| Lanes::read::<true>(s, from, at));
            math::pow(a, b).write::<true>(self.y, at);
        }
    }
}

/// aᵇ of every pair, as `level` computes it.
pub fn apply_pow<T: Element>(level: Level, a: &[T], b: &[T]) -> Vec<T> {
    let mut y = vec![T::ZERO; a.len()];
    T::dispatch(level, ApplyPow { a, b, y: &mut y });
    y
}

/// Permitted errors of aᵇ in units in the last place, of f32 and f64 for |b ln a| up to 100, and of f64 beyond.
pub const POW: [f64; 3] =
    [entry("ulps.pow.float32"), entry("ulps.pow.float64"), entry("ulps.pow.float64 far")];

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
pub fn ulp_f32(x: f64) -> f64 {
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
            if function.undefined(x.into()) {
                continue;
            }
            // What follows the greatest f32 stands for infinity.
            let beyond = 2.0 * 2.0_f64.powi(127);
            let truth = truth.clamp(-beyond, beyond);
            let error = (f64::from(y).clamp(-beyond, beyond) - truth).abs()
                / ulp_f32(truth.abs().clamp(function.floor(), f32::MAX.into()));
            worst.see(x.into(), error);
        }
        if level.fuses() {
            match &fused {
                None => fused = Some(y),
                Some(first) => {
                    for ((x, y), first) in x.iter().zip(&y).zip(first) {
                        if y.to_bits() != first.to_bits() && !y.is_nan() {
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

/// What holds of every result, whatever its error: NaN where there is none and nowhere else, the sign, the bounds.
pub fn check(function: Function, x: f64, y: f64, worst: &mut Worst) {
    let name = function.name();
    if function.undefined(x) != y.is_nan() {
        worst.blame(|| format!("{name}({x:e}) = {y:e}"));
    } else if !y.is_nan() {
        let negative = function.negative(x).unwrap_or(y.is_sign_negative());
        if y.abs() > function.limit() || y.is_sign_negative() != negative {
            worst.blame(|| format!("{name}({x:e}) = {y:e}"));
        }
    }
}
