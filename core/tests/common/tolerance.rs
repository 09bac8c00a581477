//! The one table of permitted errors, `tolerances.toml`, which the tests in Python read too.

use unrolled::real::Real;

const TABLE: &str = include_str!("../../../python/unrolled/tolerances.toml");

/// The number of an entry, found when the tests are compiled.
pub const fn entry(name: &str) -> f64 {
    let (table, name) = (TABLE.as_bytes(), name.as_bytes());
    let mut at = 0;
    while at < table.len() {
        if table[at] == b'"' && follows(table, at + 1, name) && table[at + 1 + name.len()] == b'"' {
            return number(table, at + 2 + name.len() + " = ".len());
        }
        while at < table.len() && table[at] != b'\n' {
            at += 1;
        }
        at += 1;
    }
    panic!("tolerances.toml has no such entry")
}

const fn follows(text: &[u8], at: usize, word: &[u8]) -> bool {
    let mut i = 0;
    while i < word.len() && at + i < text.len() && text[at + i] == word[i] {
        i += 1;
    }
    i == word.len()
}

/// A number such as `2.5` or `1e-12`, to the end of its line.
const fn number(text: &[u8], mut at: usize) -> f64 {
    let (mut digits, mut places, mut point) = (0_u64, 0, false);
    while text[at].is_ascii_digit() || text[at] == b'.' {
        if text[at] == b'.' {
            point = true;
        } else {
            digits = 10 * digits + (text[at] - b'0') as u64;
            places += point as u32;
        }
        at += 1;
    }
    if text[at] == b'e' && text[at + 1] == b'-' {
        at += 2;
        let mut exponent = 0;
        while text[at].is_ascii_digit() {
            exponent = 10 * exponent + (text[at] - b'0') as u32;
            at += 1;
        }
        places += exponent;
    }
    assert!(text[at] == b'\n', "a number such as 2.5 or 1e-12");
    // Both are exact within these bounds, so that the quotient is rounded once, to the number written.
    assert!(digits < 1 << 53 && places <= 22);
    let mut power = 1.0;
    while places > 0 {
        (power, places) = (10.0 * power, places - 1);
    }
    digits as f64 / power
}

/// The entry of a float type.
macro_rules! by_type {
    ($(#[$doc:meta])* $name:ident, $f32:literal, $f64:literal) => {
        $(#[$doc])*
        pub fn $name<T: Real>() -> f64 {
            match T::NAME {
                "float32" => const { entry($f32) },
                _ => const { entry($f64) },
            }
        }
    };
}
by_type!(
    /// Outputs and states of a net in `T`, against the reference in `f64`.
    outputs,
    "reference.output.float32",
    "reference.output.float64"
);
by_type!(
    /// Gradients of a net in `T`, against the reference in `f64`.
    gradients,
    "reference.gradient.float32",
    "reference.gradient.float64"
);
by_type!(
    /// Vᵀ V against the identity for orthonormal vectors.
    orthonormal,
    "orthonormal.float32",
    "orthonormal.float64"
);

pub const CANCELLED: f64 = entry("cancelled");
pub const REORDERED: f64 = entry("reordered");
pub const DIFFERENCE_STEP: f64 = entry("difference.step");
pub const DIFFERENCE: f64 = entry("difference");
pub const LONG_F32: f64 = entry("long.float32");
pub const LOSS_GRADIENT_F32: f64 = entry("loss.gradient.float32");
pub const LOSS_VALUE_F32: f64 = entry("loss.value.float32");
pub const LOSS_PYTORCH: f64 = entry("loss.pytorch");
pub const OPTIMIZER_ULPS: f64 = entry("optimizer.ulps");
pub const NORM: f64 = entry("norm");
