//! A loop over slices, a vector at a time.

use crate::simd::{Element, Kernel, Simd};

/// Work on elements that know nothing of one another.
pub trait OfElements<T: Element> {
    /// How many elements there are.
    fn len(&self) -> usize;
    /// Does the vector that starts at `at`; the last one, where `PART`, may be shorter.
    /// Must be `#[inline(always)]`.
    fn vector<S: Simd<T>, const PART: bool>(&mut self, s: S, at: usize);
}

/// The kernel that does all of it.
pub struct Each<W>(pub W);

impl<T: Element, W: OfElements<T>> Kernel<T> for Each<W> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(mut self, s: S) {
        let len = self.0.len();
        let whole = len - len % S::LANES;
        let mut at = 0;
        while at < whole {
            self.0.vector::<S, false>(s, at);
            at += S::LANES;
        }
        if at < len {
            self.0.vector::<S, true>(s, at);
        }
    }
}
