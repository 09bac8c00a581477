//! Two vectors as one: what is done to it is done to both by turns, so that neither waits for itself.

use super::sealed::Sealed;
use super::{Kernel, Simd};
use crate::real::Real;

/// The vectors of a level in pairs.
#[derive(Clone, Copy, Debug)]
pub struct Pair<S>(pub S);

/// A kernel that runs on pairs.
struct Paired<K>(K);

impl<T: Real, K: Kernel<T>> Kernel<T> for Paired<K> {
    type Output = K::Output;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> K::Output {
        self.0.run(s)
    }
}

macro_rules! both {
    ($($name:ident($($of:ident),*)),* $(,)?) => {
        $(
            #[inline(always)]
            fn $name(self, $($of: Self::V),*) -> Self::V {
                [self.0.$name($($of[0]),*), self.0.$name($($of[1]),*)]
            }
        )*
    };
}

impl<S: Sealed> Sealed for Pair<S> {}

impl<T: Real, S: Simd<T>> Simd<T> for Pair<S> {
    type V = [S::V; 2];
    type M = [S::M; 2];
    const LANES: usize = 2 * S::LANES;
    const REGISTERS: usize = S::REGISTERS / 2;
    const FUSES: bool = S::FUSES;
    const FAST: bool = S::FAST;

    #[inline(always)]
    fn run<K: Kernel<T>>(self, kernel: K) -> K::Output {
        self.0.run(Paired(kernel))
    }
    #[inline(always)]
    fn splat(self, x: T) -> Self::V {
        [self.0.splat(x); 2]
    }
    #[inline(always)]
    unsafe fn load_ptr(self, at: *const T) -> Self::V {
        // SAFETY: 2 LANES of the halves are valid, LANES for each.
        unsafe { [self.0.load_ptr(at), self.0.load_ptr(at.add(S::LANES))] }
    }
    #[inline(always)]
    unsafe fn load_ptr_partial(self, at: *const T, n: usize) -> Self::V {
        let low = n.min(S::LANES);
        // SAFETY: n values are valid, of which `low` stand before the second half; neither part has more than LANES.
        unsafe { [self.0.load_ptr_partial(at, low), self.0.load_ptr_partial(at.add(low), n - low)] }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, at: *mut T, v: Self::V) {
        // SAFETY: 2 LANES of the halves are valid, LANES for each.
        unsafe {
            self.0.store_ptr(at, v[0]);
            self.0.store_ptr(at.add(S::LANES), v[1]);
        }
    }
    #[inline(always)]
    unsafe fn store_ptr_partial(self, at: *mut T, v: Self::V, n: usize) {
        let low = n.min(S::LANES);
        // SAFETY: n values are valid, of which `low` stand before the second half; neither part has more than LANES.
        unsafe {
            self.0.store_ptr_partial(at, v[0], low);
            self.0.store_ptr_partial(at.add(low), v[1], n - low);
        }
    }
    #[inline(always)]
    fn lt(self, a: Self::V, b: Self::V) -> Self::M {
        [self.0.lt(a[0], b[0]), self.0.lt(a[1], b[1])]
    }
    #[inline(always)]
    fn le(self, a: Self::V, b: Self::V) -> Self::M {
        [self.0.le(a[0], b[0]), self.0.le(a[1], b[1])]
    }
    #[inline(always)]
    fn eq(self, a: Self::V, b: Self::V) -> Self::M {
        [self.0.eq(a[0], b[0]), self.0.eq(a[1], b[1])]
    }
    #[inline(always)]
    fn any(self, m: Self::M) -> bool {
        self.0.any(m[0]) | self.0.any(m[1])
    }
    #[inline(always)]
    fn odd(self, n: Self::V) -> Self::M {
        [self.0.odd(n[0]), self.0.odd(n[1])]
    }
    #[inline(always)]
    fn split(self, a: Self::V) -> (Self::V, Self::V) {
        let (low, high) = (self.0.split(a[0]), self.0.split(a[1]));
        ([low.0, high.0], [low.1, high.1])
    }
    #[inline(always)]
    fn select(self, m: Self::M, a: Self::V, b: Self::V) -> Self::V {
        [self.0.select(m[0], a[0], b[0]), self.0.select(m[1], a[1], b[1])]
    }
    both!(
        add(a, b),
        sub(a, b),
        mul(a, b),
        div(a, b),
        sqrt(a),
        mul_add(a, b, c),
        neg_mul_add(a, b, c),
        min(a, b),
        max(a, b),
        abs(a),
        copysign(a, b),
        exponent(a),
        flip(a, b),
    );
}
