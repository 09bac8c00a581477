//! What the modules must give, to the last bit: the same models on this machine, at the portable level, over the whole
//! sequence at once. Writes a file for each model, `<name>.f32`, by row, output and step.
//!
//! ```text
//! native DIRECTORY MODEL…
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{env, error, fs};
use unrolled::{Isa, Level, Sequential, formats};

include!(concat!(env!("OUT_DIR"), "/model.rs"));

const STEPS: usize = 1000;
const ROWS: usize = 2;

/// An input, as test.mjs makes it too.
fn input(t: usize, channel: usize) -> f32 {
    (((t * 7919 + channel * 104_729) % 2001) as f64 / 1000.0 - 1.0) as f32
}

/// Of (steps, channels), by channel and step.
fn written(to: &Path, values: &[f32]) -> std::io::Result<()> {
    let channels = values.len() / STEPS;
    let by_channel = (0..channels).flat_map(|n| values.iter().skip(n).step_by(channels));
    fs::write(to, by_channel.flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())
}

// Of a model in f64 too.
#[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
fn fixed() -> Vec<f32> {
    let mut states = [const { model::State::new() }; ROWS];
    let mut values = Vec::new();
    for t in 0..STEPS {
        for (row, state) in states.iter_mut().enumerate() {
            let first = row * model::INPUTS;
            let x = std::array::from_fn(|n| input(t, first + n).into());
            values.extend(model::step(&x, state).map(|y| y as f32));
        }
    }
    values
}

fn loaded(file: &Path, level: Level) -> Result<Vec<f32>, Box<dyn error::Error>> {
    let model: Sequential<f32> = formats::load(&fs::read(file)?, level)
        .map_err(|error| format!("{}: {error}", file.display()))?;
    let (inputs, outputs) = (ROWS * model.input_size(), ROWS * model.output_size());
    let x: Vec<f32> =
        (0..STEPS).flat_map(|t| (0..inputs).map(move |channel| input(t, channel))).collect();
    let mut y = vec![0.0; STEPS * outputs];
    Sequential::stream(&Arc::new(model), ROWS)?.process(&x, &mut y)?;
    Ok(y)
}

fn main() -> Result<(), Box<dyn error::Error>> {
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let directory = arguments.next().ok_or("expected a directory")?;
    fs::create_dir_all(&directory)?;
    Level::set_limit(Isa::Portable);
    assert!(!Level::best().fuses(), "compiled without target-feature=+fma, as a page is");
    written(&directory.join("fixed.f32"), &fixed())?;
    for file in arguments {
        let name = file.file_name().ok_or("expected a file")?.to_string_lossy();
        let to = directory.join(format!("{name}.f32"));
        written(&to, &loaded(&file, Level::best())?)?;
    }
    Ok(())
}
