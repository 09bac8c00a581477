//! Which instruction sets this machine has, and which of them to use.

#[cfg(target_arch = "aarch64")]
use super::neon::Neon;
#[cfg(target_arch = "x86_64")]
use super::x86::{Avx2, Avx512};
use super::{Element, Kernel, Simd, portable::Portable};
use core::fmt;
use core::sync::atomic::{AtomicU8, Ordering};

/// The name of an instruction set, lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Isa {
    /// What the crate was compiled for: SSE2 on x86-64, NEON on AArch64, SIMD128 on wasm, or scalar.
    Portable = 0,
    /// NEON of AArch64.
    Neon = 1,
    /// AVX2 with FMA and F16C.
    Avx2 = 2,
    /// AVX-512 F and DQ.
    Avx512 = 3,
}

impl Isa {
    /// Every instruction set there is code for, on whatever machine.
    pub const ALL: [Isa; 4] = [Isa::Portable, Isa::Neon, Isa::Avx2, Isa::Avx512];

    /// `"portable"`, `"neon"`, `"avx2"` or `"avx512"`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Neon => "neon",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        }
    }

    /// The one whose [`name`](Self::name) this is.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Isa> {
        Isa::ALL.into_iter().find(|isa| isa.name() == name)
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Proof that an [`Isa`] runs on this machine: it can only be had by asking.
#[derive(Clone, Copy, Debug)]
pub struct Level(Token);

#[derive(Clone, Copy, Debug)]
enum Token {
    Portable(Portable),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

/// The highest level [`Level::best`] may give, or this where nothing has been said yet.
const UNSAID: u8 = u8::MAX;
static LIMIT: AtomicU8 = AtomicU8::new(UNSAID);

impl Level {
    /// `isa`, where this machine has it.
    #[must_use]
    pub fn get(isa: Isa) -> Option<Level> {
        match isa {
            Isa::Portable => Some(Level(Token::Portable(Portable))),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => Neon::detect().map(|t| Level(Token::Neon(t))),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Avx2::detect().map(|t| Level(Token::Avx2(t))),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Avx512::detect().map(|t| Level(Token::Avx512(t))),
            _ => None,
        }
    }

    /// What this machine can run, lowest first.
    pub fn available() -> impl Iterator<Item = Level> {
        Isa::ALL.into_iter().filter_map(Level::get)
    }

    /// The highest level available at or below the [limit](Self::set_limit).
    #[must_use]
    #[inline]
    pub fn best() -> Level {
        let mut limit = LIMIT.load(Ordering::Relaxed);
        if limit == UNSAID {
            limit = first_limit() as u8;
            LIMIT.store(limit, Ordering::Relaxed);
        }
        #[cfg(target_arch = "aarch64")]
        if limit >= Isa::Neon as u8
            && let Some(token) = Neon::detect()
        {
            return Level(Token::Neon(token));
        }
        #[cfg(target_arch = "x86_64")]
        {
            if limit >= Isa::Avx512 as u8
                && let Some(token) = Avx512::detect()
            {
                return Level(Token::Avx512(token));
            }
            if limit >= Isa::Avx2 as u8
                && let Some(token) = Avx2::detect()
            {
                return Level(Token::Avx2(token));
            }
        }
        Level(Token::Portable(Portable))
    }

    /// Limits what [`best`](Self::best) gives from now on, in the whole process.
    /// Without a call, the environment variable `UNROLLED_MAX_ISA` does (with `std`;
    /// a value that names no instruction set is ignored here).
    pub fn set_limit(isa: Isa) {
        LIMIT.store(isa as u8, Ordering::Relaxed);
    }

    /// The name of this level.
    #[must_use]
    pub fn isa(self) -> Isa {
        match self.0 {
            Token::Portable(_) => Isa::Portable,
            #[cfg(target_arch = "aarch64")]
            Token::Neon(_) => Isa::Neon,
            #[cfg(target_arch = "x86_64")]
            Token::Avx2(_) => Isa::Avx2,
            #[cfg(target_arch = "x86_64")]
            Token::Avx512(_) => Isa::Avx512,
        }
    }

    /// Whether a · b + c is rounded once. Levels for which this holds give the same
    /// results as one another, bit for bit.
    #[must_use]
    pub fn fuses(self) -> bool {
        match self.0 {
            Token::Portable(_) => Portable::FUSES,
            #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
            _ => true,
        }
    }

    /// Values of `T` in one vector of this level.
    #[must_use]
    pub fn lanes<T: Element>(self) -> usize {
        self.vectors::<T>().0
    }

    /// Whether this level widens smaller numbers as it loads them.
    #[cfg(feature = "alloc")]
    pub(crate) fn widens<T: Element>(self) -> bool {
        self.vectors::<T>().1
    }

    /// What its vectors are: how wide, and whether smaller numbers are widened as they are loaded.
    fn vectors<T: Element>(self) -> (usize, bool) {
        struct Vectors;
        impl<T: Element> Kernel<T> for Vectors {
            type Output = (usize, bool);
            #[inline(always)]
            fn run<S: Simd<T>>(self, _: S) -> (usize, bool) {
                (S::LANES, S::HALVES)
            }
        }
        T::dispatch(self, Vectors)
    }
}

#[cfg(feature = "std")]
fn first_limit() -> Isa {
    std::env::var("UNROLLED_MAX_ISA")
        .ok()
        .and_then(|name| Isa::from_name(&name))
        .unwrap_or(Isa::Avx512)
}

#[cfg(not(feature = "std"))]
fn first_limit() -> Isa {
    Isa::Avx512
}

macro_rules! element {
    ($t:ty) => {
        impl Element for $t {
            #[inline(always)]
            fn dispatch<K: Kernel<Self>>(level: Level, kernel: K) -> K::Output {
                match level.0 {
                    Token::Portable(s) => Simd::<$t>::run(s, kernel),
                    #[cfg(target_arch = "aarch64")]
                    Token::Neon(s) => Simd::<$t>::run(s, kernel),
                    #[cfg(target_arch = "x86_64")]
                    Token::Avx2(s) => Simd::<$t>::run(s, kernel),
                    #[cfg(target_arch = "x86_64")]
                    Token::Avx512(s) => Simd::<$t>::run(s, kernel),
                }
            }
        }
    };
}
element!(f32);
element!(f64);
