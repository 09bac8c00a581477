//! One model for another while it plays.

use super::Stream;
use crate::error::Error;
use crate::time::Passes;
use alloc::boxed::Box;
use alloc::sync::Arc;
use crossbeam_queue::ArrayQueue;

/// What plays, on the thread that must not wait, and what sends it other models, on any other.
///
/// ```
/// # use std::sync::Arc;
/// # use unrolled::dense::Dense;
/// use unrolled::sequential::{Module, Sequential, player};
/// # use unrolled::{Error, Level};
/// # let dense = || Dense::<f32>::new(1, 1, true, Level::best()).map(Module::Dense);
/// # let first = Sequential::stream(&Arc::new(Sequential::new(vec![dense()?])?), 1)?;
/// # let second = Sequential::stream(&Arc::new(Sequential::new(vec![dense()?])?), 1)?;
///
/// let (mut player, mut replacer) = player(first);
/// let audio = std::thread::spawn(move || {
///     let (x, mut y) = ([0.5; 64], [0.0; 64]);
///     player.process(&x, &mut y)
/// });
/// // Meanwhile a second model is loaded, and its stream prepared.
/// replacer.replace(second)?;
/// # audio.join().unwrap()?;
/// # Ok::<(), Error>(())
/// ```
#[must_use]
pub fn player<T: Passes>(stream: Stream<T>) -> (Player<T>, Replacer<T>) {
    let sizes = sizes(&stream);
    let (next, last) = (Arc::new(ArrayQueue::new(1)), Arc::new(ArrayQueue::new(1)));
    let player =
        Player { stream: Box::new(stream), next: Arc::clone(&next), last: Arc::clone(&last) };
    (player, Replacer { sizes, next, last })
}

/// A stream that goes over to another one between two blocks, as a [`Replacer`] says. It never waits, and neither asks
/// for memory nor frees any.
#[derive(Debug)]
pub struct Player<T: Passes> {
    stream: Box<Stream<T>>,
    next: Arc<ArrayQueue<Box<Stream<T>>>>,
    last: Arc<ArrayQueue<Box<Stream<T>>>>,
}

/// Sends a [`Player`] other streams, and frees those that it has left.
#[derive(Debug)]
pub struct Replacer<T: Passes> {
    sizes: [usize; 3],
    next: Arc<ArrayQueue<Box<Stream<T>>>>,
    last: Arc<ArrayQueue<Box<Stream<T>>>>,
}

/// Rows, values of a row that go in, and that come out.
fn sizes<T: Passes>(stream: &Stream<T>) -> [usize; 3] {
    [stream.batch(), stream.model().input_size(), stream.model().output_size()]
}

impl<T: Passes> Player<T> {
    /// The stream that plays: the one sent last, once that has come. Call it once a block.
    pub fn stream(&mut self) -> &mut Stream<T> {
        // One that is left must have a place; nobody but this player fills it.
        if !self.last.is_full()
            && let Some(next) = self.next.pop()
        {
            let last = core::mem::replace(&mut self.stream, next);
            let kept = self.last.push(last);
            debug_assert!(kept.is_ok(), "the place was free");
        }
        &mut self.stream
    }

    /// [`Stream::process`] of the stream that plays.
    ///
    /// # Errors
    /// As that.
    pub fn process(&mut self, x: &[T], y: &mut [T]) -> Result<(), Error> {
        self.stream().process(x, y)
    }
}

impl<T: Passes> Replacer<T> {
    /// Sends a stream, which plays from the next block on that begins after an earlier one has been
    /// [freed](Self::free). One that was sent before and has not been taken yet is freed.
    ///
    /// # Errors
    /// `Length` where it has not as many rows, inputs and outputs as the first one.
    pub fn replace(&mut self, stream: Stream<T>) -> Result<(), Error> {
        let arguments = ["rows", "inputs", "outputs"].into_iter();
        let both = self.sizes.into_iter().zip(sizes(&stream));
        for (argument, (expected, got)) in arguments.zip(both) {
            if got != expected {
                return Err(Error::Length { argument, expected, got });
            }
        }
        self.free();
        drop(self.next.force_push(Box::new(stream)));
        Ok(())
    }

    /// Frees the stream that the player has left, if it has; says whether.
    pub fn free(&mut self) -> bool {
        self.last.pop().is_some()
    }
}
