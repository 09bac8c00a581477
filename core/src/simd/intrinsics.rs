//! What the levels made of intrinsics share: a macro, of which each level has an instance for f32 and one for f64.
//! Their files name the intrinsics, and say what an instruction set does in a way of its own.

/// `impl Simd<$t> for $token`. What one intrinsic does on every level comes by its name alone, in the order of the
/// trait, and what works on the bits of numbers behind `bits`; anything else as `operation |arguments| expression`.
macro_rules! simd_impl {
    (
        $token:ident, $t:ty, $v:ty, $m:ty, lanes $lanes:literal, registers $registers:literal,
        mantissa $mantissa:literal, bias $bias:literal,
        run $(#[$enabling:meta])*,
        $splat:ident $load:ident $store:ident $add:ident $sub:ident $mul:ident $div:ident $sqrt:ident,
        abs |$aa:ident| $abs:expr,
        $(prefetch |$line:ident| $prefetch:expr,)?
        $(halves |$halves_at:ident| $halves:expr,)?
        few |$at:ident, $few:ident, $n:ident| $load_few:expr, $store_few:expr,
        mul_add |$fa:ident, $fb:ident, $fc:ident| $mul_add:expr, $neg_mul_add:expr,
        min_max |$ma:ident, $mb:ident| $min:expr, $max:expr,
        compare $lt:path, $le:path, $eq:path,
        any |$any:ident| $is_any:expr,
        select |$sm:ident, $sa:ident, $sb:ident| $select:expr,
        sign |$ca:ident, $cs:ident, $minus:ident| $copysign:expr, $flip:expr,
        bits $to_bits:ident $of_bits:ident $bits:ident $b_add:ident $b_and:ident $b_or:ident
        $b_left:ident $b_right:ident,
        test |$ta:ident, $tb:ident| $test:expr $(,)?
    ) => {
        // SAFETY: ("the token", in every block below) `detect` alone makes a token, where the machine has what `run`
        // enables, and that is all an intrinsic asks for that takes no pointer.
        impl Simd<$t> for $token {
            type V = $v;
            type M = $m;
            const LANES: usize = $lanes;
            const REGISTERS: usize = $registers;
            const FUSES: bool = true;

            #[inline(always)]
            fn run<K: Kernel<$t>>(self, kernel: K) -> K::Output {
                // Unsafe to call where what is enabled is not there.
                $(#[$enabling])*
                unsafe fn inner<K: Kernel<$t>>(token: $token, kernel: K) -> K::Output {
                    kernel.run(token)
                }
                // SAFETY: the token is the proof of it.
                unsafe { inner(self, kernel) }
            }
            $(
                const PREFETCHES: bool = true;

                #[inline(always)]
                fn prefetch(self, at: &[$t]) {
                    let $line = at.as_ptr();
                    // SAFETY: the token; a prefetch of any address has no effect that shows.
                    unsafe { $prefetch }
                }
            )?
            $(
                const HALVES: bool = true;

                #[inline(always)]
                unsafe fn load_halves<const PART: bool>(self, $halves_at: *const u16, n: usize) -> $v {
                    // SAFETY: the token; LANES numbers are valid for reads, or n where `PART`. None is a subnormal one,
                    // infinite or NaN, so that the instruction gives what the others do.
                    unsafe {
                        if PART { load_halves::<$t, Self, true>(self, $halves_at, n) } else { $halves }
                    }
                }
            )?
            #[inline(always)]
            fn splat(self, x: $t) -> $v {
                // SAFETY: the token.
                unsafe { $splat(x) }
            }
            #[inline(always)]
            unsafe fn load_ptr(self, at: *const $t) -> $v {
                // SAFETY: the token; LANES values are valid for reads.
                unsafe { $load(at) }
            }
            #[inline(always)]
            unsafe fn load_ptr_partial(self, $at: *const $t, $n: usize) -> $v {
                // SAFETY: the token; n values are valid for reads, and no more are read.
                unsafe { $load_few }
            }
            #[inline(always)]
            unsafe fn store_ptr(self, at: *mut $t, v: $v) {
                // SAFETY: the token; LANES values are valid for writes.
                unsafe { $store(at, v) }
            }
            #[inline(always)]
            unsafe fn store_ptr_partial(self, $at: *mut $t, $few: $v, $n: usize) {
                // SAFETY: the token; n values are valid for writes, and no more are written.
                unsafe { $store_few }
            }
            #[inline(always)]
            fn add(self, a: $v, b: $v) -> $v {
                // SAFETY: the token.
                unsafe { $add(a, b) }
            }
            #[inline(always)]
            fn sub(self, a: $v, b: $v) -> $v {
                // SAFETY: the token.
                unsafe { $sub(a, b) }
            }
            #[inline(always)]
            fn mul(self, a: $v, b: $v) -> $v {
                // SAFETY: the token.
                unsafe { $mul(a, b) }
            }
            #[inline(always)]
            fn div(self, a: $v, b: $v) -> $v {
                // SAFETY: the token.
                unsafe { $div(a, b) }
            }
            #[inline(always)]
            fn sqrt(self, a: $v) -> $v {
                // SAFETY: the token.
                unsafe { $sqrt(a) }
            }
            #[inline(always)]
            fn mul_add(self, $fa: $v, $fb: $v, $fc: $v) -> $v {
                // SAFETY: the token.
                unsafe { $mul_add }
            }
            #[inline(always)]
            fn neg_mul_add(self, $fa: $v, $fb: $v, $fc: $v) -> $v {
                // SAFETY: the token.
                unsafe { $neg_mul_add }
            }
            #[inline(always)]
            fn min(self, $ma: $v, $mb: $v) -> $v {
                // SAFETY: the token.
                unsafe { $min }
            }
            #[inline(always)]
            fn max(self, $ma: $v, $mb: $v) -> $v {
                // SAFETY: the token.
                unsafe { $max }
            }
            #[inline(always)]
            fn lt(self, a: $v, b: $v) -> $m {
                // SAFETY: the token.
                unsafe { $lt(a, b) }
            }
            #[inline(always)]
            fn le(self, a: $v, b: $v) -> $m {
                // SAFETY: the token.
                unsafe { $le(a, b) }
            }
            #[inline(always)]
            fn eq(self, a: $v, b: $v) -> $m {
                // SAFETY: the token.
                unsafe { $eq(a, b) }
            }
            #[inline(always)]
            fn any(self, $any: $m) -> bool {
                // SAFETY: the token.
                unsafe { $is_any }
            }
            #[inline(always)]
            fn select(self, $sm: $m, $sa: $v, $sb: $v) -> $v {
                // SAFETY: the token.
                unsafe { $select }
            }
            #[inline(always)]
            fn abs(self, $aa: $v) -> $v {
                // SAFETY: the token.
                unsafe { $abs }
            }
            #[inline(always)]
            fn copysign(self, $ca: $v, $cs: $v) -> $v {
                // SAFETY: the token.
                unsafe {
                    let $minus = $splat(-0.0);
                    $copysign
                }
            }
            #[inline(always)]
            fn exponent(self, sum: $v) -> $v {
                // The shift moves the low bits to the exponent field and the rest out.
                // SAFETY: the token.
                unsafe { $of_bits($b_left::<$mantissa>($to_bits(sum))) }
            }
            #[inline(always)]
            fn odd(self, n: $v) -> $m {
                // n + 1.5·2^mantissa leaves n in the low bits.
                // SAFETY: the token.
                unsafe {
                    let $ta = $to_bits($add(n, $splat(1.5 * (1_u64 << $mantissa) as $t)));
                    let $tb = $bits(1);
                    $test
                }
            }
            #[inline(always)]
            fn flip(self, $ca: $v, n: $v) -> $v {
                // As `odd`; the bit above the lowest becomes a sign.
                // SAFETY: the token.
                unsafe {
                    let n = $to_bits($add(n, $splat(1.5 * (1_u64 << $mantissa) as $t)));
                    let $cs = $of_bits($b_left::<{ (8 * size_of::<$t>() - 2) as _ }>(n));
                    let $minus = $splat(-0.0);
                    $flip
                }
            }
            #[inline(always)]
            fn split(self, a: $v) -> ($v, $v) {
                // With 1 − √½ added to the bits, what lies above √2 has carried into the exponent field. An integer in
                // the low bits of 2^mantissa reads as added to it.
                // SAFETY: the token.
                unsafe {
                    let half = <$t>::to_bits(core::f64::consts::FRAC_1_SQRT_2 as $t);
                    let unit = (1_u64 << $mantissa) as $t;
                    let bits = $b_add($to_bits(a), $bits((<$t>::to_bits(1.0) - half) as _));
                    let n = $b_or($b_right::<$mantissa>(bits), $bits(<$t>::to_bits(unit) as _));
                    let field = $b_and(bits, $bits((1 << $mantissa) - 1));
                    let m = $of_bits($b_add(field, $bits(half as _)));
                    ($sub($of_bits(n), $splat(unit + $bias)), m)
                }
            }
        }
    };
}
pub(super) use simd_impl;
