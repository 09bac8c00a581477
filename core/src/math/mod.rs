//! Elementwise functions on vectors. Placeholder to be replaced by measured ones.
use crate::real::Real;
use crate::simd::{Lanes, Simd};

/// e^x for x ≤ 0
#[inline(always)]
pub fn exp<T: Real, S: Simd<T>>(x: Lanes<T, S>) -> Lanes<T, S> {
    let f64_ = T::PAD == 8;
    let x = x.at_least(if f64_ { -708.0 } else { -87.0 }).at_most(if f64_ { 709.0 } else { 88.0 });
    let magic = x.like(if f64_ { 6_755_399_441_055_744.0 } else { 12_582_912.0 });
    let n = x.mul_add(x.like(core::f64::consts::LOG2_E), magic) - magic;
    let (hi, lo) = if f64_ {
        (6.931_471_803_691_238_16e-1, 1.908_214_929_270_587_70e-10)
    } else {
        (0.693_359_375, -2.121_944_4e-4)
    };
    let r = n.neg_mul_add(x.like(hi), x);
    let r = n.neg_mul_add(x.like(lo), r);
    let mut p = x.like(0.0);
    let order = if f64_ { 14 } else { 7 };
    let mut k = order;
    while k > 0 {
        let mut f = 1.0;
        let mut i = 1;
        while i <= k {
            f *= i as f64;
            i += 1;
        }
        p = p.mul_add(r, x.like(1.0 / f));
        k -= 1;
    }
    let p = p.mul_add(r, x.like(1.0));
    p * n.pow2()
}

/// logistic
#[inline(always)]
pub fn sigmoid<T: Real, S: Simd<T>>(x: Lanes<T, S>) -> Lanes<T, S> {
    let e = exp(-x.abs());
    let one = x.like(1.0);
    x.if_less(x.like(0.0), e, one) / (one + e)
}

/// tanh
#[inline(always)]
pub fn tanh<T: Real, S: Simd<T>>(x: Lanes<T, S>) -> Lanes<T, S> {
    let a = x.abs();
    let e = exp(-(a + a));
    let one = x.like(1.0);
    ((one - e) / (one + e)).copysign(x)
}

/// Which versions of the activations a cell uses.
pub trait Math: Copy {
    /// tanh
    fn tanh<T: Real, S: Simd<T>>(x: Lanes<T, S>) -> Lanes<T, S>;
    /// logistic
    fn sigmoid<T: Real, S: Simd<T>>(x: Lanes<T, S>) -> Lanes<T, S>;
}
/// ≤ 2.5 ULP
#[derive(Clone, Copy)]
pub struct Accurate;
impl Math for Accurate {
    #[inline(always)]
    fn tanh<T: Real, S: Simd<T>>(x: Lanes<T, S>) -> Lanes<T, S> {
        tanh(x)
    }
    #[inline(always)]
    fn sigmoid<T: Real, S: Simd<T>>(x: Lanes<T, S>) -> Lanes<T, S> {
        sigmoid(x)
    }
}
