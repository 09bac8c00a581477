//! Sizes known when compiled and sizes known when run, through one trait.

/// A size: [`Const<N>`] folds to a literal where it is used, `usize` reads a value.
/// Kernels take either, so the fixed-size cells and the run-time networks share them.
pub trait Dim: Copy {
    /// The size.
    fn get(self) -> usize;
}

/// A size fixed when compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Const<const N: usize>;

impl<const N: usize> Dim for Const<N> {
    #[inline(always)]
    fn get(self) -> usize {
        N
    }
}

impl Dim for usize {
    #[inline(always)]
    fn get(self) -> usize {
        self
    }
}
