//! Streams: the states of a model's rows, and the memory that processing takes.

use crate::check::{self, guarded, made};
use crate::error::{Failure, Status};
use crate::model::Model;
use core::cell::UnsafeCell;
use core::ops::Range;
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};
use unrolled::Sequential;
use unrolled::sequential;

/// A model at work: the states of its rows, and all memory that processing takes. One thread at a time may use it.
pub struct Stream {
    /// Whether a thread is at work on it.
    pub(crate) busy: AtomicBool,
    stream: UnsafeCell<sequential::Stream<f32>>,
}

// SAFETY: only the thread that set `busy` reaches the stream, which may go from one thread to another.
unsafe impl Sync for Stream where sequential::Stream<f32>: Send {}

/// Models and streams may go wherever a C program takes them.
const _: fn() = || {
    fn anywhere<T: Send + Sync>() {}
    anywhere::<Model>();
    anywhere::<Stream>();
};

/// Sets back that a stream is at work, after a panic too.
struct Working<'a>(&'a AtomicBool);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Does `work` on a stream that no other thread is at work on.
///
/// # Safety
/// `stream` is NULL or a stream that has not been freed.
unsafe fn with(
    stream: *mut Stream,
    work: impl FnOnce(&mut sequential::Stream<f32>) -> Result<(), Status>,
) -> Status {
    // SAFETY: the caller says that it is NULL or a stream; what changes in one is in cells.
    let Some(this) = (unsafe { stream.as_ref() }) else {
        return Status::Pointer;
    };
    if this.busy.swap(true, Ordering::Acquire) {
        return Status::Busy;
    }
    let _working = Working(&this.busy);
    // SAFETY: `busy` was not set, and whoever finds it set stays out: this is the only reference.
    let stream = unsafe { &mut *this.stream.get() };
    guarded(Err(Status::Internal), || work(stream)).err().unwrap_or(Status::Ok)
}

/// Prepares a model to be played, from its initial state. All memory is asked for here.
///
/// model: stays owned by the caller, who may free it at once: the stream owns it too.
/// batch: rows that are processed at a time, at least 1: sequences of their own, such as the channels of a mono model.
/// error: what went wrong, or NULL. It is written in any case.
///
/// Returns a stream to be freed by unrolled_stream_free, or NULL: for a model with a layer that runs backward in time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unrolled_stream_new(
    model: *const Model,
    batch: usize,
    error: *mut Failure,
) -> *mut Stream {
    let work = || {
        // SAFETY: the caller says that it is NULL or a model, which does not change.
        let model = unsafe { model.as_ref() }.ok_or(Status::Pointer)?;
        let stream = Sequential::stream(&model.sequential, batch)?;
        let busy = AtomicBool::new(false);
        Ok(Box::into_raw(Box::new(Stream { busy, stream: UnsafeCell::new(stream) })))
    };
    // SAFETY: as the caller says.
    unsafe { made(error, work) }
}

/// Frees a stream; NULL is allowed. No other thread may be at work on it, and it is nothing for the audio thread, as
/// memory is freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unrolled_stream_free(stream: *mut Stream) {
    if !stream.is_null() {
        // SAFETY: the caller says that it is a stream, which a `Box` gave.
        guarded((), || drop(unsafe { Box::from_raw(stream) }));
    }
}

/// Goes back to the model's initial state, without asking for memory or waiting.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unrolled_stream_reset(stream: *mut Stream) -> Status {
    let work = |stream: &mut sequential::Stream<f32>| {
        stream.reset();
        Ok(())
    };
    // SAFETY: as the caller says.
    unsafe { with(stream, work) }
}

/// Values of a step that go in, and that come out.
fn of_step(stream: &sequential::Stream<f32>) -> (usize, usize) {
    let (model, batch) = (stream.model(), stream.batch());
    (batch * model.input_size(), batch * model.output_size())
}

/// Plays any number of steps, without asking for memory or waiting. What comes out is, to the last bit, what all steps
/// at once would give, whatever blocks they come in.
///
/// in: (steps, batch, input size), the last index fastest. in_len counts its floats.
/// out: (steps, batch, output size). out_len counts its floats: as many steps as there are of in.
///
/// in and out may be the same buffer where the input size is the output size; they may not overlap otherwise. Of no
/// steps, both may be NULL.
///
/// Returns UNROLLED_STATUS_OK; or _POINTER, _LENGTH, _OVERLAP, _BUSY, and then stream and out are as they were.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unrolled_stream_process(
    stream: *mut Stream,
    r#in: *const f32,
    in_len: usize,
    out: *mut f32,
    out_len: usize,
) -> Status {
    let (x, y) = (r#in, out);
    let work = |stream: &mut sequential::Stream<f32>| {
        let (inputs, outputs) = of_step(stream);
        let steps = in_len / inputs;
        if !in_len.is_multiple_of(inputs) || steps.checked_mul(outputs) != Some(out_len) {
            return Err(Status::Length);
        }
        check::values(x, in_len)?;
        check::values(y, out_len)?;
        let same = ptr::eq(x, y) && inputs == outputs;
        if !same && check::overlap((x, in_len), (y, out_len)) {
            return Err(Status::Overlap);
        }
        let read = |steps: Range<usize>, to: &mut [f32]| {
            // SAFETY: the caller says that x has all steps; `to` is memory of the stream.
            unsafe {
                let from = x.add(steps.start * inputs);
                ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len());
            }
        };
        let write = |steps: Range<usize>, from: &[f32]| {
            // SAFETY: the caller says that y has room for all steps; `from` is memory of the stream.
            unsafe {
                let to = y.add(steps.start * outputs);
                ptr::copy_nonoverlapping(from.as_ptr(), to, from.len());
            }
        };
        stream.process_with(steps, read, write);
        Ok(())
    };
    // SAFETY: as the caller says.
    unsafe { with(stream, work) }
}

/// The same of channels that each have a buffer, as audio hosts hold them.
///
/// in: channels_in pointers to steps floats each. There is a channel for each value of each row, row after row:
///   channels_in is batch * input size.
/// out: channels_out pointers to steps floats each; channels_out is batch * output size.
///
/// A buffer of out may be a buffer of in. Otherwise none of out may overlap another one. Every pair of channels is
/// looked at for that: from some hundred channels on unrolled_stream_process is quicker.
///
/// Returns what unrolled_stream_process does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unrolled_stream_process_channels(
    stream: *mut Stream,
    r#in: *const *const f32,
    channels_in: usize,
    out: *const *mut f32,
    channels_out: usize,
    steps: usize,
) -> Status {
    let work = |stream: &mut sequential::Stream<f32>| {
        let (inputs, outputs) = of_step(stream);
        if (inputs, outputs) != (channels_in, channels_out) {
            return Err(Status::Length);
        }
        check::values(r#in, inputs)?;
        check::values(out, outputs)?;
        // SAFETY: the caller says that as many pointers are there.
        let (x, y) = unsafe {
            (core::slice::from_raw_parts(r#in, inputs), core::slice::from_raw_parts(out, outputs))
        };
        x.iter().try_for_each(|&channel| check::values(channel, steps))?;
        y.iter().try_for_each(|&channel| check::values(channel, steps))?;
        for (n, &to) in y.iter().enumerate() {
            let to = to.cast_const();
            let met = |other: *const f32| check::overlap((to, steps), (other, steps));
            // Values of x are read before y is written at the same steps: the same buffer may be both.
            if x.iter().any(|&other| !ptr::eq(to, other) && met(other))
                || y[..n].iter().any(|&other| met(other))
            {
                return Err(Status::Overlap);
            }
        }
        let read = |steps: Range<usize>, to: &mut [f32]| {
            for (n, channel) in x.iter().enumerate() {
                let to = to.iter_mut().skip(n).step_by(inputs);
                for (to, t) in to.zip(steps.clone()) {
                    // SAFETY: the caller says that each channel has all steps.
                    *to = unsafe { channel.add(t).read() };
                }
            }
        };
        let write = |steps: Range<usize>, from: &[f32]| {
            for (n, channel) in y.iter().enumerate() {
                let from = from.iter().skip(n).step_by(outputs);
                for (&from, t) in from.zip(steps.clone()) {
                    // SAFETY: the caller says that each channel has room for all steps.
                    unsafe { channel.add(t).write(from) };
                }
            }
        };
        stream.process_with(steps, read, write);
        Ok(())
    };
    // SAFETY: as the caller says.
    unsafe { with(stream, work) }
}
