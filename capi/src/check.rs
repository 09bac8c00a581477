//! What can be known of a caller's memory, and where no panic gets past.

use crate::error::{Failure, Refusal, Status};
use core::mem::size_of;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What `work` gives, or `otherwise` where it panics.
pub(crate) fn guarded<R>(otherwise: R, work: impl FnOnce() -> R) -> R {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(otherwise)
}

/// What `work` makes, as a pointer; NULL where it is refused, and why.
///
/// # Safety
/// `error` is NULL or leads to memory for one.
pub(crate) unsafe fn made<T>(
    error: *mut Failure,
    work: impl FnOnce() -> Result<*mut T, Refusal>,
) -> *mut T {
    let done = guarded(Err(Status::Internal), || Ok(work()));
    let done = done.unwrap_or_else(|status| Err(Refusal::from(status)));
    if !error.is_null() && error.is_aligned() {
        // SAFETY: the caller says that it leads to memory for one.
        unsafe { error.write(Failure::of(&done)) };
    }
    done.unwrap_or(core::ptr::null_mut())
}

/// Whether `len` values can lie there, all of which have an address. Of none, the pointer may be anything.
pub(crate) fn values<T>(first: *const T, len: usize) -> Result<(), Status> {
    if len == 0 {
        return Ok(());
    }
    if first.is_null() || !first.is_aligned() {
        return Err(Status::Pointer);
    }
    let bytes = len.checked_mul(size_of::<T>()).filter(|&bytes| isize::try_from(bytes).is_ok());
    let end = bytes.and_then(|bytes| first.addr().checked_add(bytes));
    end.map(|_| ()).ok_or(Status::Length)
}

/// Whether values of two buffers that passed [`values`] share an address.
pub(crate) fn overlap<T>((a, a_len): (*const T, usize), (b, b_len): (*const T, usize)) -> bool {
    let end = |first: *const T, len: usize| first.addr() + len * size_of::<T>();
    a.addr() < end(b, b_len) && b.addr() < end(a, a_len) && a_len > 0 && b_len > 0
}
