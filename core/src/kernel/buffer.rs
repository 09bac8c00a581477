//! Memory for the kernels: zeroed, starting on a 64-byte line, an error where there is none left.

use crate::error::Error;
use crate::real::Real;
use alloc::vec::Vec;
use core::ops::{Deref, DerefMut};

/// Numbers that start on a cache line, so that no vector straddles two.
#[derive(Debug, Default)]
pub struct Buffer<T> {
    values: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Real> Buffer<T> {
    /// `len` zeros, for `what`.
    pub fn zeros(len: usize, what: &'static str) -> Result<Self, Error> {
        let too_large = Error::TooLarge { what };
        let mut values = Vec::new();
        values
            .try_reserve_exact(len.checked_add(T::PAD).ok_or(too_large)?)
            .map_err(|_| too_large)?;
        let line = 64;
        let past = values.as_ptr() as usize % line;
        let start = ((line - past) % line) / size_of::<T>();
        values.resize(start + len, T::ZERO);
        Ok(Buffer { values, start, len })
    }

    /// Makes it `len` long; what it holds afterwards is unspecified. Memory is only asked for when it grows.
    pub fn resize(&mut self, len: usize, what: &'static str) -> Result<(), Error> {
        if len > self.values.len() - self.start {
            *self = Self::zeros(len, what)?;
        }
        self.len = len;
        Ok(())
    }
}

impl<T> Deref for Buffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.values[self.start..self.start + self.len]
    }
}

impl<T> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values[self.start..self.start + self.len]
    }
}

/// The product of sizes, or an error where it does not fit an address.
pub fn size(factors: &[usize], what: &'static str) -> Result<usize, Error> {
    factors
        .iter()
        .try_fold(1_usize, |n, &f| n.checked_mul(f))
        .filter(|&n| n <= isize::MAX as usize / 16)
        .ok_or(Error::TooLarge { what })
}
