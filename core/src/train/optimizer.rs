//! Optimisers, one parameter slice at a time.
//!
//! The formulae and the order of their operations are those of PyTorch's single-tensor
//! implementations, so a run can be followed side by side. Hyper-parameters and the bias
//! corrections are f64, rounded to `T` where they meet the parameters. No multiply-add is
//! fused (memory sets the pace anyway): **all** levels give the same bits.
//!
//! `t` counts steps from 1 and is the same for all slices of a step. An optimiser whose
//! step returns an error has changed nothing.

use super::each::{Each, OfElements};
use super::{check, check_length, check_not_negative};
use crate::error::Error;
use crate::simd::{Element, Lanes, Level, Simd};

/// Steps from 1 on: 0 would divide by a bias correction of 0.
fn check_step(t: u64) -> Result<(), Error> {
    check("t", t > 0, "steps counted from 1")
}

/// Stochastic gradient descent, as `torch.optim.SGD`:
///
/// g ← g + `weight_decay` · p;
/// b ← g at the first step, then `momentum` · b + (1 − `dampening`) · g;
/// p ← p − `lr` · b, or p − `lr` · (g + `momentum` · b) with `nesterov`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Learning rate.
    pub lr: f64,
    /// How much of the buffer stays; with 0 there is no buffer.
    pub momentum: f64,
    /// How much of the gradient is kept out of the buffer.
    pub dampening: f64,
    /// Weight of the squared parameters in the loss, times two.
    pub weight_decay: f64,
    /// Looks ahead along the buffer; needs momentum, and no dampening.
    pub nesterov: bool,
}

impl Default for Sgd {
    /// `lr` 10⁻³ and nothing else, PyTorch's defaults.
    fn default() -> Self {
        Sgd { lr: 1e-3, momentum: 0.0, dampening: 0.0, weight_decay: 0.0, nesterov: false }
    }
}

impl Sgd {
    /// Whether the hyper-parameters make sense.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the first that does not.
    pub fn validate(&self) -> Result<(), Error> {
        check_not_negative("lr", self.lr)?;
        check_not_negative("momentum", self.momentum)?;
        check("dampening", self.dampening.is_finite(), "a finite number")?;
        check_not_negative("weight_decay", self.weight_decay)?;
        let fits = !self.nesterov || (self.momentum > 0.0 && self.dampening == 0.0);
        check("nesterov", fits, "false, or momentum above 0 and dampening 0")
    }

    /// Step `t` for one slice of parameters. `buffer` is as long as `parameter` and keeps
    /// the momentum from step to step; what it holds before step 1 does not matter.
    /// Without momentum it is not used and may be empty.
    ///
    /// # Errors
    /// [`Error::Invalid`] for hyper-parameters or a `t` that make no sense, [`Error::Length`]
    /// where the slices do not fit `parameter`.
    pub fn step<T: Element>(
        &self,
        t: u64,
        parameter: &mut [T],
        gradient: &[T],
        buffer: &mut [T],
    ) -> Result<(), Error> {
        self.validate()?;
        check_step(t)?;
        check_length("gradient", parameter.len(), gradient.len())?;
        if self.momentum != 0.0 {
            check_length("buffer", parameter.len(), buffer.len())?;
        }
        let step = SgdStep { sgd: *self, first: t == 1, parameter, gradient, buffer };
        T::dispatch(Level::best(), Each(step));
        Ok(())
    }
}

struct SgdStep<'a, T> {
    sgd: Sgd,
    first: bool,
    parameter: &'a mut [T],
    gradient: &'a [T],
    buffer: &'a mut [T],
}

impl<T: Element> OfElements<T> for SgdStep<'_, T> {
    fn len(&self) -> usize {
        self.parameter.len()
    }
    #[inline(always)]
    fn vector<S: Simd<T>, const PART: bool>(&mut self, s: S, at: usize) {
        let Sgd { lr, momentum, dampening, weight_decay, nesterov } = self.sgd;
        let mut p = Lanes::read::<PART>(s, self.parameter, at);
        let mut g = Lanes::read::<PART>(s, self.gradient, at);
        if weight_decay != 0.0 {
            g = g + p.like(weight_decay) * p;
        }
        if momentum != 0.0 {
            let mut b = g;
            if !self.first {
                b = Lanes::read::<PART>(s, self.buffer, at) * g.like(momentum);
                b = b + g.like(1.0 - dampening) * g;
            }
            b.write::<PART>(self.buffer, at);
            g = if nesterov { g + g.like(momentum) * b } else { b };
        }
        p = p + p.like(-lr) * g;
        p.write::<PART>(self.parameter, at);
    }
}

/// Adam (Kingma & Ba, 2015) as `torch.optim.Adam`, and with `decoupled` AdamW (Loshchilov &
/// Hutter, 2019) as `torch.optim.AdamW`:
///
/// g ← g + `weight_decay` · p, or decoupled p ← p · (1 − `lr` · `weight_decay`);
/// m ← m + (1 − β₁) (g − m);
/// v ← β₂ v + (1 − β₂) g²;
/// p ← p − `lr` / (1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + `eps`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Learning rate.
    pub lr: f64,
    /// How much of the running means of g and of g² stays each step.
    pub betas: (f64, f64),
    /// Keeps the step finite where the gradient has been 0.
    pub eps: f64,
    /// How strongly parameters are drawn to 0.
    pub weight_decay: f64,
    /// Whether they are drawn apart from the gradient (AdamW) or through it.
    pub decoupled: bool,
}

impl Default for Adam {
    /// PyTorch's defaults: `lr` 10⁻³, β 0.9 and 0.999, `eps` 10⁻⁸, no weight decay.
    fn default() -> Self {
        Adam { lr: 1e-3, betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.0, decoupled: false }
    }
}

impl Adam {
    /// AdamW with PyTorch's defaults: as Adam's, and a decoupled weight decay of 10⁻².
    #[must_use]
    #[doc(alias = "AdamW")]
    pub fn adamw() -> Self {
        Adam { weight_decay: 1e-2, decoupled: true, ..Adam::default() }
    }

    /// Whether the hyper-parameters make sense.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the first that does not.
    pub fn validate(&self) -> Result<(), Error> {
        check_not_negative("lr", self.lr)?;
        for beta in [self.betas.0, self.betas.1] {
            check("betas", (0.0..1.0).contains(&beta), "two numbers from 0 to below 1")?;
        }
        check_not_negative("eps", self.eps)?;
        check_not_negative("weight_decay", self.weight_decay)
    }

    /// Step `t` for one slice of parameters. `m` and `v` are as long as `parameter`, zero
    /// before step 1, and keep the running means of the gradient and its square. Where there are many slices, or no
    /// hardware for f64, see [`at`](Self::at).
    ///
    /// # Errors
    /// [`Error::Invalid`] for hyper-parameters or a `t` that make no sense, [`Error::Length`]
    /// where the slices do not fit `parameter`.
    pub fn step<T: Element>(
        &self,
        t: u64,
        parameter: &mut [T],
        gradient: &[T],
        m: &mut [T],
        v: &mut [T],
    ) -> Result<(), Error> {
        self.at(t)?.step(parameter, gradient, m, v)
    }

    /// Step `t`, with what all slices share made ready: powers of β in f64, which take a processor without hardware for
    /// it as long as hundreds of parameters.
    ///
    /// # Errors
    /// [`Error::Invalid`] for hyper-parameters or a `t` that make no sense.
    pub fn at<T: Element>(&self, t: u64) -> Result<AdamStep<T>, Error> {
        self.validate()?;
        check_step(t)?;
        let Adam { lr, betas, eps, weight_decay, decoupled } = *self;
        let correction1 = 1.0 - libm::pow(betas.0, t as f64);
        let correction2 = 1.0 - libm::pow(betas.1, t as f64);
        // Rounded before it is compared and subtracted from 1, as PyTorch does.
        let weight1 = T::from_f64(1.0 - betas.0).to_f64();
        Ok(AdamStep {
            decoupled,
            decays: weight_decay != 0.0,
            decay: T::from_f64(if decoupled { 1.0 - lr * weight_decay } else { weight_decay }),
            from_m: weight1 < 0.5,
            weight1: T::from_f64(if weight1 < 0.5 { weight1 } else { 1.0 - weight1 }),
            beta2: T::from_f64(betas.1),
            weight2: T::from_f64(1.0 - betas.1),
            step_size: T::from_f64(-(lr / correction1)),
            root2: T::from_f64(libm::sqrt(correction2)),
            eps: T::from_f64(eps),
        })
    }
}

/// A step of [`Adam`], by [`Adam::at`]: its numbers in the type of the parameters.
///
/// ```
/// use unrolled::train::Adam;
///
/// let (mut w, mut b) = ([0.5_f32, -0.5], [0.1_f32]);
/// let (mut m, mut v) = ([0.0; 3], [0.0; 3]);
/// let step = Adam::default().at(1)?;
/// step.step(&mut w, &[1.0, -1.0], &mut m[..2], &mut v[..2])?;
/// step.step(&mut b, &[1.0], &mut m[2..], &mut v[2..])?;
/// assert!((w[0] - 0.499).abs() < 1e-6 && (b[0] - 0.099).abs() < 1e-6);
/// # Ok::<(), unrolled::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct AdamStep<T> {
    decoupled: bool,
    decays: bool,
    /// 1 − lr · weight decay where decoupled, else the weight decay.
    decay: T,
    /// Whether 1 − β₁ is below ½: the mean of g then starts from m, else from g.
    from_m: bool,
    /// 1 − β₁, or β₁.
    weight1: T,
    /// β₂
    beta2: T,
    /// 1 − β₂
    weight2: T,
    /// −lr / (1 − β₁ᵗ)
    step_size: T,
    /// √(1 − β₂ᵗ)
    root2: T,
    eps: T,
}

impl<T: Element> AdamStep<T> {
    /// The step for one slice of parameters: see [`Adam::step`].
    ///
    /// # Errors
    /// [`Error::Length`] where the slices do not fit `parameter`.
    pub fn step(
        &self,
        parameter: &mut [T],
        gradient: &[T],
        m: &mut [T],
        v: &mut [T],
    ) -> Result<(), Error> {
        check_length("gradient", parameter.len(), gradient.len())?;
        check_length("m", parameter.len(), m.len())?;
        check_length("v", parameter.len(), v.len())?;
        let slice = AdamSlice { step: *self, parameter, gradient, m, v };
        T::dispatch(Level::best(), Each(slice));
        Ok(())
    }
}

struct AdamSlice<'a, T> {
    step: AdamStep<T>,
    parameter: &'a mut [T],
    gradient: &'a [T],
    m: &'a mut [T],
    v: &'a mut [T],
}

impl<T: Element> OfElements<T> for AdamSlice<'_, T> {
    fn len(&self) -> usize {
        self.parameter.len()
    }
    #[inline(always)]
    fn vector<S: Simd<T>, const PART: bool>(&mut self, s: S, at: usize) {
        let step = self.step;
        let all = |x: T| Lanes::new(s, s.splat(x));
        let mut p = Lanes::read::<PART>(s, self.parameter, at);
        let mut g = Lanes::read::<PART>(s, self.gradient, at);
        let m = Lanes::read::<PART>(s, self.m, at);
        let v = Lanes::read::<PART>(s, self.v, at);
        if step.decoupled {
            p = p * all(step.decay);
        } else if step.decays {
            g = g + all(step.decay) * p;
        }
        // torch.lerp: from whichever end is nearer.
        let m = if step.from_m {
            m + all(step.weight1) * (g - m)
        } else {
            g - (g - m) * all(step.weight1)
        };
        let v = v * all(step.beta2) + all(step.weight2) * g * g;
        let denominator = v.sqrt() / all(step.root2) + all(step.eps);
        p = p + all(step.step_size) * m / denominator;
        m.write::<PART>(self.m, at);
        v.write::<PART>(self.v, at);
        p.write::<PART>(self.parameter, at);
    }
}
