//! Models: loaded once, never changed, shared by any number of streams and threads.

use crate::check::{self, guarded, made};
use crate::error::{Failure, Refusal, Status};
use core::ffi::{CStr, c_char, c_void};
use std::path::Path;
use std::sync::Arc;
use unrolled::sequential::Module;
use unrolled::{Level, Sequential, formats};

/// A model in memory. It never changes: any number of threads may use one at a time.
pub struct Model {
    pub(crate) sequential: Arc<Sequential<f32>>,
}

fn shared(sequential: Sequential<f32>) -> *mut Model {
    Arc::into_raw(Arc::new(Model { sequential: Arc::new(sequential) })).cast_mut()
}

/// Loads a model from a file: JSON as RTNeural reads it, JSON of CoreAudioML (Automated-GuitarAmpModelling), an LSTM
/// in .nam, or safetensors that Python's unrolled.save wrote. What the file holds decides, not its name.
///
/// path: UTF-8, closed by a zero. (On Unix any bytes that name a file.)
/// error: what went wrong, or NULL. It is written in any case.
///
/// Returns a model to be freed by unrolled_model_free, or NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unrolled_model_load_file(
    path: *const c_char,
    error: *mut Failure,
) -> *mut Model {
    let work = || {
        if path.is_null() {
            return Err(Status::Pointer.into());
        }
        // SAFETY: the caller says that it ends with a zero.
        let path = of_file(unsafe { CStr::from_ptr(path) })?;
        // A message names the file.
        formats::load_file(path, Level::best()).map(shared).map_err(|error| {
            let Refusal { status, message } = error.into();
            Refusal { status, message: format!("{}: {message}", path.display()) }
        })
    };
    // SAFETY: as the caller says.
    unsafe { made(error, work) }
}

#[cfg(unix)]
fn of_file(path: &CStr) -> Result<&Path, Refusal> {
    use std::os::unix::ffi::OsStrExt;
    Ok(Path::new(std::ffi::OsStr::from_bytes(path.to_bytes())))
}

#[cfg(not(unix))]
fn of_file(path: &CStr) -> Result<&Path, Refusal> {
    let invalid = |_| Refusal { status: Status::Invalid, message: "path: expected UTF-8".into() };
    path.to_str().map(Path::new).map_err(invalid)
}

/// Loads a model from what a file holds. The memory is read before the function returns, and not kept.
///
/// data, size: the bytes, and how many.
/// error: as unrolled_model_load_file takes it.
///
/// Returns a model to be freed by unrolled_model_free, or NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unrolled_model_load_memory(
    data: *const c_void,
    size: usize,
    error: *mut Failure,
) -> *mut Model {
    let work = || {
        let data: *const u8 = data.cast();
        check::values(data, size)?;
        // SAFETY: the caller says that as many bytes are there; none need no address.
        let data = if size == 0 { &[] } else { unsafe { core::slice::from_raw_parts(data, size) } };
        Ok(formats::load(data, Level::best()).map(shared)?)
    };
    // SAFETY: as the caller says.
    unsafe { made(error, work) }
}

/// One owner more: the model stays until unrolled_model_free has been called for each. Returns the same model, or
/// NULL for NULL. Any thread may call it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unrolled_model_retain(model: *const Model) -> *mut Model {
    if !model.is_null() {
        // SAFETY: the caller says that it is a model, which an `Arc` gave.
        unsafe { Arc::increment_strong_count(model) };
    }
    model.cast_mut()
}

/// Frees a model, or gives up one of several owners. NULL is allowed. Streams of the model go on: they own it too.
/// Any thread may call it, but not the audio thread, as memory may be freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unrolled_model_free(model: *mut Model) {
    if !model.is_null() {
        // SAFETY: the caller says that it is a model, which an `Arc` gave.
        guarded((), || drop(unsafe { Arc::from_raw(model) }));
    }
}

/// What `of` says of a model; 0 for NULL.
///
/// # Safety
/// `model` is NULL or a model that has not been freed.
unsafe fn number(model: *const Model, of: impl FnOnce(&Sequential<f32>) -> usize) -> usize {
    // SAFETY: the caller says that it is NULL or a model, which does not change.
    let model = unsafe { model.as_ref() };
    guarded(0, || model.map_or(0, |model| of(&model.sequential)))
}

/// Values that the model reads at a step, for each row; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unrolled_model_input_size(model: *const Model) -> usize {
    // SAFETY: as the caller says.
    unsafe { number(model, Sequential::input_size) }
}

/// Values that the model gives at a step, for each row; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unrolled_model_output_size(model: *const Model) -> usize {
    // SAFETY: as the caller says.
    unsafe { number(model, Sequential::output_size) }
}

/// Weights and biases of all its layers; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unrolled_model_num_parameters(model: *const Model) -> usize {
    let of = |module: &Module<f32>| match module {
        Module::Recurrent(net) => net.parameters().len(),
        Module::Dense(dense) => dense.parameters().len(),
        Module::Activation(_) | Module::Residual { .. } => 0,
    };
    // SAFETY: as the caller says.
    unsafe { number(model, |model| model.modules().iter().map(of).sum()) }
}
