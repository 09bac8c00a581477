//! Arrays of a length that a trait cannot say, seen as slices; in constants too, where no trait can be called.

use core::mem::MaybeUninit;

mod sealed {
    /// [`flat`](super::flat) counts on what [`Array`](super::Array) says: of nothing but the arrays here is that known.
    pub trait Sealed<A> {}
    impl<A, const N: usize> Sealed<A> for [A; N] {}
    impl<A, X: Sealed<A>, Y: Sealed<A>> Sealed<A> for super::Joined<X, Y> {}
}

/// `[A; N]`, where a trait cannot say N: so many `A`, one after another, and nothing else. Sealed.
pub trait Array<A: Copy>: sealed::Sealed<A> + Copy + AsRef<[A]> + AsMut<[A]> {
    /// N.
    const LEN: usize;
    /// N times the same.
    #[inline(always)]
    #[must_use]
    fn filled(a: A) -> Self {
        filled(a)
    }
}

impl<A: Copy, const N: usize> Array<A> for [A; N] {
    const LEN: usize = N;
    #[inline(always)]
    fn filled(a: A) -> Self {
        [a; N]
    }
}

/// One array after another, as one.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Joined<X, Y>(pub X, pub Y);

impl<A: Copy, X: Array<A>, Y: Array<A>> Array<A> for Joined<X, Y> {
    const LEN: usize = X::LEN + Y::LEN;
}

impl<A: Copy, X: Array<A>, Y: Array<A>> AsRef<[A]> for Joined<X, Y> {
    #[inline(always)]
    fn as_ref(&self) -> &[A] {
        flat(core::slice::from_ref(self))
    }
}

impl<A: Copy, X: Array<A>, Y: Array<A>> AsMut<[A]> for Joined<X, Y> {
    #[inline(always)]
    fn as_mut(&mut self) -> &mut [A] {
        flat_mut(core::slice::from_mut(self))
    }
}

/// What the functions below count on, said once more: it does not compile where it does not hold.
const fn is_made_of<A: Copy, X: Array<A>>() -> bool {
    size_of::<X>() == X::LEN * size_of::<A>() && align_of::<X>() == align_of::<A>()
}

/// [`Array::filled`], in a constant too.
#[inline(always)]
#[must_use]
pub const fn filled<A: Copy, X: Array<A>>(a: A) -> X {
    const { assert!(is_made_of::<A, X>()) };
    let mut array = MaybeUninit::<X>::uninit();
    let mut i = 0;
    while i < X::LEN {
        // SAFETY: `X` is `LEN` values of `A` one after another (`Array` is sealed), and i < LEN.
        unsafe { array.as_mut_ptr().cast::<A>().add(i).write(a) };
        i += 1;
    }
    // SAFETY: all `LEN` values are written, and there is nothing else in `X`.
    unsafe { array.assume_init() }
}

/// What stands in arrays, one after another.
#[inline(always)]
#[must_use]
pub const fn flat<A: Copy, X: Array<A>>(arrays: &[X]) -> &[A] {
    const { assert!(is_made_of::<A, X>()) };
    // SAFETY: `X` is `LEN` values of `A` one after another (`Array` is sealed), so that the slice's memory is that of so
    // many of them, aligned alike. No slice has more than `isize::MAX` bytes, so that the product wraps only where an `A`
    // has none: of those any number would do.
    unsafe { core::slice::from_raw_parts(arrays.as_ptr().cast(), arrays.len() * X::LEN) }
}

/// The same, to be written.
#[inline(always)]
#[must_use]
pub const fn flat_mut<A: Copy, X: Array<A>>(arrays: &mut [X]) -> &mut [A] {
    const { assert!(is_made_of::<A, X>()) };
    // SAFETY: as in `flat`; and any `A` may be written, for all of `X` is values of `A`.
    unsafe { core::slice::from_raw_parts_mut(arrays.as_mut_ptr().cast(), arrays.len() * X::LEN) }
}
