//! Any model that [`formats`] reads, any number of streams.

use crate::{BLOCK, NO_MODEL, NO_STREAM, TOO_LONG};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use unrolled::sequential::Stream;
use unrolled::{Error, Level, Sequential, formats};

/// Why something failed.
pub type Text = String;
/// Before anything has.
pub const NOTHING: Text = String::new();

/// What is loaded, and what plays.
pub struct Player {
    file: Vec<u8>,
    models: Table<Arc<Sequential<f32>>>,
    streams: Table<Playing>,
}

/// A stream, and its blocks: by channel, step.
struct Playing {
    stream: Stream<f32>,
    x: Vec<f32>,
    y: Vec<f32>,
}

impl Player {
    pub const fn new() -> Self {
        Player { file: Vec::new(), models: Table::new(), streams: Table::new() }
    }

    pub fn file(&mut self, bytes: usize) -> Result<&mut [u8], Text> {
        self.file = filled(bytes, 0, "file").map_err(|error| error.to_string())?;
        Ok(&mut self.file)
    }

    pub fn load(&mut self) -> Result<usize, Text> {
        let file = core::mem::take(&mut self.file);
        let model = formats::load(&file, Level::best()).map_err(|error| error.to_string())?;
        Ok(self.models.add(Arc::new(model)))
    }

    pub fn sizes(&self, model: u32) -> Result<[usize; 2], Text> {
        let model = self.models.get(model).ok_or(NO_MODEL)?;
        Ok([model.input_size(), model.output_size()])
    }

    pub fn stream(&mut self, model: u32, batch: usize) -> Result<usize, Text> {
        let [inputs, outputs] = self.sizes(model)?;
        let model = self.models.get(model).ok_or(NO_MODEL)?;
        let made = || {
            let stream = Sequential::stream(model, batch)?;
            let room = |size: usize| {
                let numbers = size.saturating_mul(batch).saturating_mul(BLOCK);
                filled(numbers, 0.0, "blocks of the stream")
            };
            Ok(Playing { stream, x: room(inputs)?, y: room(outputs)? })
        };
        let playing = made().map_err(|error: Error| error.to_string())?;
        Ok(self.streams.add(playing))
    }

    pub fn blocks(&mut self, stream: u32) -> Result<[&mut [f32]; 2], Text> {
        let Playing { x, y, .. } = self.streams.get_mut(stream).ok_or(NO_STREAM)?;
        Ok([x, y])
    }

    pub fn process(&mut self, stream: u32, steps: usize) -> Result<(), Text> {
        let Playing { stream, x, y } = self.streams.get_mut(stream).ok_or(NO_STREAM)?;
        if steps > BLOCK {
            return Err(TOO_LONG.into());
        }
        let (inputs, outputs) = (x.len() / BLOCK, y.len() / BLOCK);
        stream.process_with(
            steps,
            |steps, to| {
                for (n, channel) in x.chunks(BLOCK).enumerate() {
                    let to = to.iter_mut().skip(n).step_by(inputs);
                    to.zip(&channel[steps.clone()]).for_each(|(to, &x)| *to = x);
                }
            },
            |steps, from| {
                for (n, channel) in y.chunks_mut(BLOCK).enumerate() {
                    let from = from.iter().skip(n).step_by(outputs);
                    channel[steps.clone()].iter_mut().zip(from).for_each(|(y, &from)| *y = from);
                }
            },
        );
        Ok(())
    }

    pub fn reset(&mut self, stream: u32) -> Result<(), Text> {
        self.streams.get_mut(stream).ok_or(NO_STREAM)?.stream.reset();
        Ok(())
    }

    pub fn free_model(&mut self, model: u32) -> Result<(), Text> {
        Ok(self.models.remove(model).map(drop).ok_or(NO_MODEL)?)
    }

    pub fn free_stream(&mut self, stream: u32) -> Result<(), Text> {
        Ok(self.streams.remove(stream).map(drop).ok_or(NO_STREAM)?)
    }
}

fn filled<T: Clone>(len: usize, value: T, what: &'static str) -> Result<Vec<T>, Error> {
    let mut values = Vec::new();
    values.try_reserve_exact(len).map_err(|_| Error::TooLarge { what })?;
    values.resize(len, value);
    Ok(values)
}

/// Values by handles, each of which is given once: an old one finds nothing.
struct Table<T> {
    next: u32,
    values: Vec<(u32, T)>,
}

impl<T> Table<T> {
    const fn new() -> Self {
        Table { next: 0, values: Vec::new() }
    }

    fn add(&mut self, value: T) -> usize {
        let handle = self.next;
        self.next += 1;
        self.values.push((handle, value));
        handle as usize
    }

    fn get(&self, handle: u32) -> Option<&T> {
        self.values.iter().find(|(own, _)| *own == handle).map(|(_, value)| value)
    }

    fn get_mut(&mut self, handle: u32) -> Option<&mut T> {
        self.values.iter_mut().find(|(own, _)| *own == handle).map(|(_, value)| value)
    }

    fn remove(&mut self, handle: u32) -> Option<T> {
        let at = self.values.iter().position(|(own, _)| *own == handle)?;
        Some(self.values.swap_remove(at).1)
    }
}
