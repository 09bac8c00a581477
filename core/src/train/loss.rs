//! Losses: each gives its value and writes the gradient of that value.
//!
//! The value is the mean over what the mask keeps. What it drops never enters: it may be
//! NaN, and its gradient is exactly 0. Where nothing is kept, or there is nothing, the value
//! is 0 and so is the gradient (PyTorch gives NaN): a batch of padding must not spoil training.
//!
//! A mask has one truth per element (per row for [`cross_entropy`]), or one per run of
//! elements where it is shorter: `[T][B]` truths serve `[T][B][D]` predictions.
//!
//! Exponentials are taken in `T`; sums and the value are f64.

use super::check_length;
use crate::error::Error;
use crate::real::Real;
use core::ops::Range;

/// A mask over the elements it stands for: `run` of them for each truth.
struct Kept<'a> {
    mask: &'a [bool],
    run: usize,
}

impl<'a> Kept<'a> {
    fn new(mask: Option<&'a [bool]>, elements: usize) -> Result<Self, Error> {
        let mask = mask.unwrap_or(&[true]);
        match (elements.checked_rem(mask.len()), elements) {
            (Some(0), _) => Ok(Kept { mask, run: elements / mask.len() }),
            (None, 0) => Ok(Kept { mask, run: 0 }),
            _ => Err(Error::Length { argument: "mask", expected: elements, got: mask.len() }),
        }
    }

    /// How many elements are kept.
    fn count(&self) -> usize {
        self.run * self.mask.iter().filter(|&&keep| keep).count()
    }

    /// All runs in order, each with whether it is kept.
    fn runs(&self) -> impl Iterator<Item = (Range<usize>, bool)> {
        let run = self.run;
        self.mask.iter().enumerate().map(move |(i, &keep)| (i * run..(i + 1) * run, keep))
    }
}

/// `sum / count`, and 0 where there is nothing.
fn mean(sum: f64, count: usize) -> f64 {
    if count == 0 { 0.0 } else { sum / count as f64 }
}

/// The mean over kept elements of a loss that `element` gives with its slope in the
/// prediction, and that mean's gradient.
fn elementwise<T: Real>(
    prediction: &[T],
    target: &[T],
    mask: Option<&[bool]>,
    gradient: &mut [T],
    element: impl Fn(T, T) -> (f64, f64),
) -> Result<f64, Error> {
    check_length("target", prediction.len(), target.len())?;
    check_length("gradient", prediction.len(), gradient.len())?;
    let kept = Kept::new(mask, prediction.len())?;
    let count = kept.count();
    let mut sum = 0.0;
    for (run, keep) in kept.runs() {
        if !keep {
            gradient[run].fill(T::ZERO);
            continue;
        }
        for i in run {
            let (value, slope) = element(prediction[i], target[i]);
            sum += value;
            gradient[i] = T::from_f64(slope / count as f64);
        }
    }
    Ok(mean(sum, count))
}

/// Mean squared error, (p − t)² averaged over the elements kept; `gradient` receives
/// 2 (p − t) / count. See the [module](crate::train) for an example.
///
/// # Errors
/// [`Error::Length`] where the slices do not fit `prediction`, or `mask` does not divide it.
pub fn mse<T: Real>(
    prediction: &[T],
    target: &[T],
    mask: Option<&[bool]>,
    gradient: &mut [T],
) -> Result<f64, Error> {
    elementwise(prediction, target, mask, gradient, |p, t| {
        let difference = p.to_f64() - t.to_f64();
        (difference * difference, 2.0 * difference)
    })
}

/// Cross-entropy of the probabilities σ(z) with targets y in \[0, 1\],
/// −y ln σ(z) − (1 − y) ln(1 − σ(z)), averaged over the elements kept; `gradient` receives
/// (σ(z) − y) / count. Finite for every finite logit.
///
/// # Errors
/// [`Error::Length`] where the slices do not fit `logits`, or `mask` does not divide it.
pub fn binary_cross_entropy_with_logits<T: Real>(
    logits: &[T],
    target: &[T],
    mask: Option<&[bool]>,
    gradient: &mut [T],
) -> Result<f64, Error> {
    elementwise(logits, target, mask, gradient, |z, y| {
        // With e = e^−|z|, which cannot overflow, ln(1 + e) is the distance of the loss to its
        // asymptote (1 − y) z or −y z, and e / (1 + e) that of σ(z) to 1 or 0. Taking y
        // from the asymptote first keeps the digits of both where a prediction is almost right.
        let e = (-z.abs()).exp().to_f64();
        let (z, y, tail) = (z.to_f64(), y.to_f64(), e / (1.0 + e));
        if z < 0.0 {
            (-y * z + libm::log1p(e), tail - y)
        } else {
            ((1.0 - y) * z + libm::log1p(e), (1.0 - y) - tail)
        }
    })
}

/// Cross-entropy of softmax(`logits`) with the classes `target`: −ln softmax(z)\[target\]
/// averaged over the rows kept; `gradient` receives (softmax(z) − one-hot) / rows.
/// `logits` and `gradient` are `[N][classes]`, `target` `[N]`.
///
/// A logit of −∞ rules its class out. Targets of dropped rows are not looked at.
///
/// ```
/// use unrolled::train::cross_entropy;
/// let mut gradient = [0.0; 4];
/// let value = cross_entropy(&[0.0, 0.0, 9.0, f64::NAN], 2, &[1, -1], Some(&[true, false]), &mut gradient)?;
/// assert_eq!(value, 2_f64.ln());
/// assert_eq!(gradient, [0.5, -0.5, 0.0, 0.0]);
/// # Ok::<(), unrolled::error::Error>(())
/// ```
///
/// # Errors
/// [`Error::Length`] where `logits` or `gradient` is not `target.len() · classes` long or
/// `mask` does not divide `target`; [`Error::Range`] where a kept row's target is no class
/// (a negative one is shown as `usize::MAX`); [`Error::Invalid`] where there are no classes.
pub fn cross_entropy<T: Real>(
    logits: &[T],
    classes: usize,
    target: &[i64],
    mask: Option<&[bool]>,
    gradient: &mut [T],
) -> Result<f64, Error> {
    let elements = target.len().checked_mul(classes).ok_or(Error::TooLarge { what: "logits" })?;
    check_length("logits", elements, logits.len())?;
    check_length("gradient", elements, gradient.len())?;
    let kept = Kept::new(mask, target.len())?;
    for (run, _) in kept.runs().filter(|&(_, keep)| keep) {
        for at in run {
            check_class(target[at], at, classes)?;
        }
    }

    let count = kept.count();
    let mut sum = 0.0;
    for (run, keep) in kept.runs() {
        if !keep {
            gradient[run.start * classes..run.end * classes].fill(T::ZERO);
            continue;
        }
        for at in run {
            let row = at * classes..(at + 1) * classes;
            let class = target[at] as usize;
            sum += cross_entropy_row(&logits[row.clone()], class, count, &mut gradient[row]);
        }
    }
    Ok(mean(sum, count))
}

fn check_class(class: i64, at: usize, classes: usize) -> Result<(), Error> {
    let Some(most) = classes.checked_sub(1) else {
        return Err(Error::Invalid { argument: "classes", expected: "1 or more" });
    };
    match usize::try_from(class) {
        Ok(class) if class <= most => Ok(()),
        other => {
            Err(Error::Range { argument: "target", at, most, got: other.unwrap_or(usize::MAX) })
        }
    }
}

/// The loss of one row, whose gradient is written for a mean over `count` rows.
fn cross_entropy_row<T: Real>(z: &[T], class: usize, count: usize, gradient: &mut [T]) -> f64 {
    // With the largest logit taken off, no exponential overflows and their sum is 1 at least.
    let largest = z.iter().fold(z[0], |largest, &z| if z > largest { z } else { largest });
    let mut sum = 0.0;
    // The sum without the target's own term, and its probability taken from 1 as that sum:
    // both keep their digits when the row is almost certainly right.
    let mut others = 0.0;
    for (i, (g, &z)) in gradient.iter_mut().zip(z).enumerate() {
        *g = (z - largest).exp();
        sum += g.to_f64();
        if i != class {
            others += g.to_f64();
        }
    }
    for g in gradient.iter_mut() {
        *g = T::from_f64(g.to_f64() / sum / count as f64);
    }
    gradient[class] = T::from_f64(-others / sum / count as f64);
    let distance = largest.to_f64() - z[class].to_f64();
    distance + if distance == 0.0 { libm::log1p(others) } else { libm::log(sum) }
}
