//! Models out of files that other programs wrote, and our own: what `unrolled.load` of the Python package makes of
//! them, to the last bit.
//!
//! | format | recognised by | read here |
//! |---|---|---|
//! | RTNeural's JSON | `in_shape`, `layers` | dense, LSTM, GRU, activations, PReLU of one slope, `in_skip` |
//! | Neural Amp Modeler's `.nam` | `architecture`, `config`, `weights` | LSTM, with its initial state |
//! | CoreAudioML's JSON | `model_data`, `state_dict` | LSTM, GRU, RNN and read-out, `skip` |
//! | safetensors | a header's length and `{` | what `unrolled.save` writes: the metadata say what it is |
//!
//! Everything else is refused by name, as there. What a file says of itself is checked before anything of that size is
//! made.
//!
//! ```no_run
//! use std::sync::Arc;
//! use unrolled::{Level, Sequential, formats};
//!
//! let model = formats::load_file::<f32>("amp.nam", Level::best())?;
//! let mut stream = Sequential::stream(&Arc::new(model), 1)?;
//! let mut block = [0.0; 64];
//! stream.process_in_place(&mut block)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cell;
mod coreaudioml;
mod json;
mod layers;
mod nam;
mod rtneural;
mod safetensors;

use crate::error::Error;
use crate::sequential::Sequential;
use crate::simd::Level;
use crate::time::Passes;
use alloc::string::String;
use core::fmt;

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// safetensors
    Safetensors,
    /// RTNeural's JSON.
    RtNeural,
    /// Neural Amp Modeler's `.nam`.
    Nam,
    /// CoreAudioML's JSON.
    CoreAudioMl,
}

/// Why a file was not read.
#[derive(Debug)]
#[non_exhaustive]
pub enum LoadError {
    /// It holds what is not known here, or not what it says.
    Refused {
        /// Where in the file; empty for the whole of it.
        at: String,
        /// What was expected there.
        expected: String,
        /// What came.
        got: String,
    },
    /// No model can be made of it.
    Model(Error),
    /// It cannot be opened or read.
    #[cfg(feature = "std")]
    File(std::io::Error),
}

impl LoadError {
    fn too_large(what: &'static str) -> Self {
        LoadError::Model(Error::TooLarge { what })
    }
}

impl From<Error> for LoadError {
    fn from(error: Error) -> Self {
        LoadError::Model(error)
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Refused { at, expected, got } if at.is_empty() => {
                write!(f, "expected {expected}, got {got}")
            }
            LoadError::Refused { at, expected, got } => {
                write!(f, "{at}: expected {expected}, got {got}")
            }
            LoadError::Model(error) => error.fmt(f),
            #[cfg(feature = "std")]
            LoadError::File(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for LoadError {}

/// A model from the content of a file, whose format is recognised by what is in it. `f32` reads what has no type as
/// `float32`, `f64` as `float64`; what has one must be of it.
///
/// # Errors
/// `Refused` for what is of no known format, damaged, or holds what is not known here; `Model` for what no model can
/// be made of, and where there is no memory.
pub fn load<T: Passes>(data: &[u8], level: Level) -> Result<Sequential<T>, LoadError> {
    if safetensors::is_one(data) {
        return safetensors::load(data, level);
    }
    if !json::is_object(data) {
        let expected = "a file of safetensors, RTNeural, Neural Amp Modeler or CoreAudioML";
        return Err(json::refused("", expected, "none of these"));
    }
    let object = json::parse(data)?;
    match json_format(&object) {
        Some(Format::RtNeural) => rtneural::load(&object, level),
        Some(Format::Nam) => nam::load(&object, level),
        Some(Format::CoreAudioMl) => coreaudioml::load(&object, level),
        _ => {
            let expected = "JSON of RTNeural, Neural Amp Modeler or CoreAudioML";
            Err(json::refused("", expected, "none of these"))
        }
    }
}

/// [`load`] of a file.
///
/// # Errors
/// As that, and `File` where it cannot be read.
#[cfg(feature = "std")]
pub fn load_file<T: Passes>(
    path: impl AsRef<std::path::Path>,
    level: Level,
) -> Result<Sequential<T>, LoadError> {
    load(&std::fs::read(path).map_err(LoadError::File)?, level)
}

impl Format {
    /// What some content is, if it is of a known format. It need not be whole.
    #[must_use]
    pub fn of(data: &[u8]) -> Option<Format> {
        if safetensors::is_one(data) {
            return Some(Format::Safetensors);
        }
        json::is_object(data)
            .then(|| json::parse(data).ok())
            .flatten()
            .as_ref()
            .and_then(json_format)
    }
}

fn json_format(object: &json::Object) -> Option<Format> {
    let known: [(Format, &[&str]); 3] = [
        (Format::RtNeural, &["in_shape", "layers"]),
        (Format::Nam, &["architecture", "config", "weights"]),
        (Format::CoreAudioMl, &["model_data", "state_dict"]),
    ];
    let holds = |keys: &[&str]| keys.iter().all(|key| object.get(key).is_some());
    known.into_iter().find_map(|(format, keys)| holds(keys).then_some(format))
}
