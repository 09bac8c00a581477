//! Files as streams of two channels, and what plays where there is no file.

use std::fmt;
use std::sync::Arc;
use unrolled::dense::Dense;
use unrolled::formats::{self, LoadError};
use unrolled::sequential::{Module, Stream};
use unrolled::{Error, Level, Sequential};

/// Rows of a stream.
pub const CHANNELS: usize = 2;

/// Why a file does not play.
#[derive(Debug)]
pub enum Refused {
    /// No model can be read.
    Load { path: String, error: LoadError },
    /// The model is not of one input and one output.
    Sizes { path: String, inputs: usize, outputs: usize },
    /// The model has no stream.
    Stream { path: String, error: Error },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Load { path, error } => write!(f, "{path}: {error}"),
            Refused::Sizes { path, inputs, outputs } => {
                write!(
                    f,
                    "{path}: expected a model of 1 input and 1 output, got {inputs} and {outputs}"
                )
            }
            Refused::Stream { path, error } => write!(f, "{path}: {error}"),
        }
    }
}

impl std::error::Error for Refused {}

impl Refused {
    /// The operating system's number of the error; 0 where it has none.
    pub fn os_error(&self) -> i32 {
        match self {
            Refused::Load { error: LoadError::File(error), .. } => {
                error.raw_os_error().unwrap_or(0)
            }
            _ => 0,
        }
    }
}

/// A stream of the model in a file.
pub fn open(path: &str) -> Result<Stream<f32>, Refused> {
    let model = regular(path)
        .map_err(LoadError::File)
        .and_then(|()| formats::load_file::<f32>(path, Level::best()))
        .map_err(|error| Refused::Load { path: path.into(), error })?;
    let (inputs, outputs) = (model.input_size(), model.output_size());
    if (inputs, outputs) != (1, 1) {
        return Err(Refused::Sizes { path: path.into(), inputs, outputs });
    }
    Sequential::stream(&Arc::new(model), CHANNELS)
        .map_err(|error| Refused::Stream { path: path.into(), error })
}

/// Devices and pipes have no end, and a state may name any path.
fn regular(path: &str) -> std::io::Result<()> {
    if std::fs::metadata(path)?.is_file() {
        Ok(())
    } else {
        Err(std::io::Error::other("expected a regular file"))
    }
}

/// A stream that gives what comes in: y = 1 · x.
pub fn none() -> Result<Stream<f32>, Error> {
    let mut dense = Dense::new(1, 1, false, Level::best())?;
    dense.update(|weight: &mut [f32]| -> Result<(), Error> {
        weight.fill(1.0);
        Ok(())
    })?;
    Sequential::stream(&Arc::new(Sequential::new(vec![Module::Dense(dense)])?), CHANNELS)
}
