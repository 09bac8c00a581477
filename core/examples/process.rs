//! Plays a sound file through a model:
//!
//!     cargo run --release -p unrolled --features formats --example process -- model.nam in.wav out.wav
//!
//! The model is an RTNeural or CoreAudioML JSON, a `.nam` or a safetensors file written by `unrolled.save`. Of a model
//! that reads one value a sample, each channel is a row with a state of its own. What is written is 32-bit float, at the
//! same rate.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use unrolled::{Level, Sequential, formats};

/// Samples that a sound card would hand over at a time.
const BLOCK: usize = 128;

/// What to play, and what is said of it at the end.
type Outcome = Result<(), Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [model, from, to] = &arguments[..] else {
        eprintln!("usage: process MODEL IN.wav OUT.wav");
        return ExitCode::from(2);
    };
    match process(model.as_ref(), from.as_ref(), to.as_ref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("process: {error}");
            ExitCode::FAILURE
        }
    }
}

fn process(model: &Path, from: &Path, to: &Path) -> Outcome {
    let level = Level::best();
    let model = formats::load_file::<f32>(model, level)
        .map_err(|error| format!("{}: {error}", model.display()))?;
    let mut sound =
        hound::WavReader::open(from).map_err(|error| format!("{}: {error}", from.display()))?;
    let spec = sound.spec();
    let (channels, inputs) = (usize::from(spec.channels), model.input_size());
    if channels == 0 || !channels.is_multiple_of(inputs) {
        let expected =
            format!("a number of channels that {inputs} divides, the inputs of the model");
        return Err(format!("{}: expected {expected}, got {channels}", from.display()).into());
    }
    let rows = channels / inputs;
    let out = rows * model.output_size();
    let x = samples(&mut sound).map_err(|error| format!("{}: {error}", from.display()))?;
    if !x.len().is_multiple_of(channels) {
        return Err(format!("{}: its last sample lacks channels", from.display()).into());
    }

    let mut stream = Sequential::stream(&Arc::new(model), rows)?;
    let mut y = vec![0.0; x.len() / channels * out];
    let begin = Instant::now();
    for (x, y) in x.chunks(BLOCK * channels).zip(y.chunks_mut(BLOCK * out)) {
        stream.process(x, y)?;
    }
    let took = begin.elapsed();
    write(to, &y, out, spec.sample_rate).map_err(|error| format!("{}: {error}", to.display()))?;
    let frames = x.len() / channels;
    let long = Duration::from_secs_f64(frames as f64 / f64::from(spec.sample_rate.max(1)));
    println!(
        "{frames} samples in {took:.1?}, {:.0} ns each, {:.2} % of the time they last ({})",
        took.as_secs_f64() * 1e9 / frames.max(1) as f64,
        100.0 * took.as_secs_f64() / long.as_secs_f64().max(f64::MIN_POSITIVE),
        level.isa(),
    );
    Ok(())
}

/// All samples, between −1 and 1 where the file has integers.
fn samples<R: std::io::Read>(sound: &mut hound::WavReader<R>) -> Result<Vec<f32>, hound::Error> {
    let spec = sound.spec();
    if spec.sample_format == hound::SampleFormat::Float {
        return sound.samples::<f32>().collect();
    }
    let full = 2.0_f32.powi(i32::from(spec.bits_per_sample) - 1);
    sound.samples::<i32>().map(|sample| sample.map(|sample| sample as f32 / full)).collect()
}

/// In one move: the file is whole, or what was there before.
fn write(to: &Path, y: &[f32], channels: usize, sample_rate: u32) -> Outcome {
    let spec = hound::WavSpec {
        channels: u16::try_from(channels)?,
        sample_rate,
        bits_per_sample: 32,
        sample_format: hound::SampleFormat::Float,
    };
    let mut name = to.file_name().ok_or("expected the name of a file")?.to_os_string();
    name.push(format!(".{}.part", std::process::id()));
    let part = to.with_file_name(name);
    let written = (|| -> Outcome {
        let mut file = hound::WavWriter::create(&part, spec)?;
        for &sample in y {
            file.write_sample(sample)?;
        }
        file.finalize()?;
        std::fs::rename(&part, to)?;
        Ok(())
    })();
    if written.is_err() {
        // Nothing more can be done about one that stays.
        let _ = std::fs::remove_file(&part);
    }
    written
}
