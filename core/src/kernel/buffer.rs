//! Memory for the kernels: on a 64-byte line, kept for the next use, an error where there is none left.

use crate::error::Error;
use crate::real::Real;
use alloc::vec::Vec;
use core::ops::{Deref, DerefMut};

/// Numbers that start on a cache line, so that no vector straddles two.
#[derive(Debug, Default)]
pub struct Buffer<T: Real> {
    values: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Real> Buffer<T> {
    /// `len` zeros, for `what`.
    ///
    /// # Errors
    /// `TooLarge` where there is no memory.
    pub fn zeros(len: usize, what: &'static str) -> Result<Self, Error> {
        let mut buffer = Self::dirty(len, what)?;
        buffer.fill(T::ZERO);
        Ok(buffer)
    }

    /// `len` numbers that will all be written before they are read: what they hold is left over from other uses.
    ///
    /// # Errors
    /// `TooLarge` where there is no memory.
    pub fn dirty(len: usize, what: &'static str) -> Result<Self, Error> {
        if len == 0 {
            return Ok(Buffer { values: Vec::new(), start: 0, len });
        }
        let too_large = Error::TooLarge { what };
        let needed = len.checked_add(T::PAD).ok_or(too_large)?;
        let mut values = spare::take(needed);
        if values.len() < needed {
            values.try_reserve_exact(needed - values.len()).map_err(|_| too_large)?;
            values.resize(needed, T::ZERO);
        }
        let line = 64;
        let past = values.as_ptr() as usize % line;
        Ok(Buffer { start: ((line - past) % line) / size_of::<T>(), values, len })
    }

    /// Makes it `len` long; what it holds afterwards is unspecified. Memory is only asked for when it grows.
    ///
    /// # Errors
    /// `TooLarge` where there is no memory.
    pub fn resize(&mut self, len: usize, what: &'static str) -> Result<(), Error> {
        if self.start + len > self.values.len() {
            *self = Self::dirty(len, what)?;
        }
        self.len = len;
        Ok(())
    }
}

impl<T: Real> Deref for Buffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.values[self.start..self.start + self.len]
    }
}

impl<T: Real> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values[self.start..self.start + self.len]
    }
}

impl<T: Real> Drop for Buffer<T> {
    fn drop(&mut self) {
        spare::give(core::mem::take(&mut self.values));
    }
}

/// A vector of `len` zeros, for `what`, to be handed out.
///
/// # Errors
/// `TooLarge` where there is no memory.
pub fn zeros<T: Real>(len: usize, what: &'static str) -> Result<Vec<T>, Error> {
    let mut values = Vec::new();
    values.try_reserve_exact(len).map_err(|_| Error::TooLarge { what })?;
    values.resize(len, T::ZERO);
    Ok(values)
}

/// The product of sizes, or an error where it does not fit an address.
///
/// # Errors
/// `TooLarge` there.
pub fn size(factors: &[usize], what: &'static str) -> Result<usize, Error> {
    factors
        .iter()
        .try_fold(1_usize, |n, &f| n.checked_mul(f))
        .filter(|&n| n <= isize::MAX as usize / 16)
        .ok_or(Error::TooLarge { what })
}

/// An empty vector with room for `len`.
pub fn room<T>(len: usize, what: &'static str) -> Result<Vec<T>, Error> {
    let mut values = Vec::new();
    values.try_reserve_exact(len).map_err(|_| Error::TooLarge { what })?;
    Ok(values)
}

/// `rows` rows of `row` numbers that will all be written before they are read.
pub fn dirty_rows<T: Real>(
    rows: usize,
    row: usize,
    what: &'static str,
) -> Result<Buffer<T>, Error> {
    Buffer::dirty(size(&[rows, row], what)?, what)
}

/// `rows` rows of `row` zeros.
pub fn rows<T: Real>(rows: usize, row: usize, what: &'static str) -> Result<Buffer<T>, Error> {
    Buffer::zeros(size(&[rows, row], what)?, what)
}

/// A copy.
pub fn copy<T: Real>(from: &Buffer<T>, what: &'static str) -> Result<Buffer<T>, Error> {
    let mut to = Buffer::dirty(from.len(), what)?;
    to.copy_from_slice(from);
    Ok(to)
}

/// Memory that was given back, for the next buffer of about its size. A training loop asks for the same
/// buffers at every step; fresh pages from the system would cost it a quarter of its time.
///
/// Nobody waits for it. A shelf that another thread has at the moment is passed over for the next one; and a child,
/// in which a shelf stays locked that another thread had at the fork, does without that one.
#[cfg(feature = "std")]
mod spare {
    use super::{Real, Vec};
    use core::any::Any;
    use core::sync::atomic::{AtomicUsize, Ordering};
    use std::boxed::Box;
    use std::sync::{Mutex, MutexGuard, TryLockError};

    /// Bytes kept at the most. What is given back beyond, goes back to the system.
    const MOST_BYTES: usize = 128 << 20;
    /// Smaller pieces are left to the allocator, which keeps them itself.
    const LEAST_BYTES: usize = 4 << 10;

    /// Vectors and their bytes.
    type Shelf = Vec<(usize, Box<dyn Any + Send>)>;
    static SHELVES: [Mutex<Shelf>; 4] = [const { Mutex::new(Vec::new()) }; 4];
    /// On all shelves.
    static BYTES: AtomicUsize = AtomicUsize::new(0);

    /// Those to be had without waiting.
    fn shelves() -> impl Iterator<Item = MutexGuard<'static, Shelf>> {
        SHELVES.iter().filter_map(|shelf| match shelf.try_lock() {
            Ok(shelf) => Some(shelf),
            Err(TryLockError::Poisoned(shelf)) => Some(shelf.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        })
    }

    /// A vector of at least `len` numbers and not much more, or an empty one.
    pub fn take<T: Real>(len: usize) -> Vec<T> {
        let bytes = len.saturating_mul(size_of::<T>());
        if bytes < LEAST_BYTES {
            return Vec::new();
        }
        let fits = |&(size, ref piece): &(usize, Box<dyn Any + Send>)| {
            size >= bytes && size <= bytes + bytes / 2 && piece.is::<Vec<T>>()
        };
        let found = shelves().find_map(|mut shelf| {
            let at = shelf.iter().rposition(fits)?;
            Some(shelf.swap_remove(at))
        });
        let Some((size, piece)) = found else { return Vec::new() };
        BYTES.fetch_sub(size, Ordering::Relaxed);
        piece.downcast().map(|v| *v).unwrap_or_default()
    }

    pub fn give<T: Real>(values: Vec<T>) {
        let bytes = values.len() * size_of::<T>();
        if bytes < LEAST_BYTES {
            return;
        }
        let Some(mut shelf) = shelves().next() else { return };
        if BYTES.load(Ordering::Relaxed) + bytes <= MOST_BYTES && shelf.try_reserve(1).is_ok() {
            BYTES.fetch_add(bytes, Ordering::Relaxed);
            shelf.push((bytes, Box::new(values)));
        }
    }
}

#[cfg(not(feature = "std"))]
mod spare {
    use super::Vec;

    pub fn take<T>(_: usize) -> Vec<T> {
        Vec::new()
    }

    pub fn give<T>(_: Vec<T>) {}
}
