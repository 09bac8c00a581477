//! What went wrong, as values: the argument's name, what was expected, what came.

use core::fmt;

/// Why a call was refused. Nothing has been changed when one is returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// `argument` holds `got` numbers where `expected` were needed.
    Length {
        /// The argument.
        argument: &'static str,
        /// How many numbers it must hold.
        expected: usize,
        /// How many it holds.
        got: usize,
    },
    /// `argument[at]` is `got`, outside `0..=most`.
    Range {
        /// The argument.
        argument: &'static str,
        /// Which of its elements; 0 for a single number.
        at: usize,
        /// The largest value allowed.
        most: usize,
        /// The value that came.
        got: usize,
    },
    /// `argument` cannot be what it is, for the reason given.
    Invalid {
        /// The argument.
        argument: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// The sizes ask for more memory than there is or than an address can name.
    TooLarge {
        /// What was to be stored.
        what: &'static str,
    },
    /// The work was stopped because the caller asked for it.
    Interrupted,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Error::Length { argument, expected, got } => {
                write!(f, "{argument}: expected {expected} numbers, got {got}")
            }
            Error::Range { argument, at, most, got } => {
                write!(f, "{argument}[{at}]: expected 0 to {most}, got {got}")
            }
            Error::Invalid { argument, expected } => write!(f, "{argument}: expected {expected}"),
            Error::TooLarge { what } => write!(f, "{what}: too large for this machine's memory"),
            Error::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl core::error::Error for Error {}
