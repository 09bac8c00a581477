//! The functions as C calls them: the bits of the core, errors for everything that can be wrong, no memory asked for.

use crate::*;
use core::ffi::{CStr, c_void};
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::Ordering;
use unrolled::{Level, Sequential};

/// A stack of layers with two inputs and two outputs, and an amplifier with one of each.
const STACK: &[u8] = include_bytes!("../../tests/data/formats/rtneural.json");
const AMP: &[u8] = include_bytes!("../../tests/data/formats/amp.nam");

fn text(pointer: *const core::ffi::c_char) -> String {
    // SAFETY: every text of the library ends with a zero.
    unsafe { CStr::from_ptr(pointer) }.to_str().unwrap().to_owned()
}

/// A pointer, or the status and the message that came in its place.
fn outcome<T>(make: impl FnOnce(*mut Failure) -> *mut T) -> Result<*mut T, (Status, String)> {
    // Whatever lay there before.
    let mut failure = MaybeUninit::<Failure>::uninit();
    let made = make(failure.as_mut_ptr());
    // SAFETY: it is written in any case.
    let failure = unsafe { failure.assume_init() };
    let message = text(failure.message.as_ptr());
    assert_eq!(made.is_null(), failure.status != Status::Ok);
    assert_eq!(message.is_empty(), failure.status == Status::Ok);
    if made.is_null() { Err((failure.status, message)) } else { Ok(made) }
}

fn load(data: &[u8]) -> Result<*mut Model, (Status, String)> {
    // SAFETY: a slice, and memory for an error.
    outcome(|error| unsafe { unrolled_model_load_memory(data.as_ptr().cast(), data.len(), error) })
}

fn stream(model: *const Model, batch: usize) -> Result<*mut Stream, (Status, String)> {
    // SAFETY: a model, and memory for an error.
    outcome(|error| unsafe { unrolled_stream_new(model, batch, error) })
}

/// A stream that owns its model alone.
fn played(data: &[u8], batch: usize) -> *mut Stream {
    let model = load(data).unwrap();
    let made = stream(model, batch).unwrap();
    // SAFETY: loaded above.
    unsafe { unrolled_model_free(model) };
    made
}

fn free(stream: *mut Stream) {
    // SAFETY: every test frees its own.
    unsafe { unrolled_stream_free(stream) };
}

fn sound(len: usize) -> Vec<f32> {
    (0..len).map(|n| (n as f32 * 0.37).sin()).collect()
}

fn expected(data: &[u8], batch: usize, x: &[f32]) -> Vec<f32> {
    let model = std::sync::Arc::new(unrolled::formats::load(data, Level::best()).unwrap());
    let mut y = vec![0.0; x.len() / model.input_size() * model.output_size()];
    Sequential::stream(&model, batch).unwrap().process(x, &mut y).unwrap();
    y
}

/// `channels` of interleaved values, each on its own.
fn planar(values: &[f32], channels: usize) -> Vec<Vec<f32>> {
    (0..channels).map(|n| values.iter().skip(n).step_by(channels).copied().collect()).collect()
}

#[test]
fn blocks_places_and_channels_give_the_bits_of_the_core() {
    for (data, size) in [(STACK, 2), (AMP, 1)] {
        for batch in [1, 3] {
            let (row, steps) = (batch * size, 150);
            let x = sound(steps * row);
            let right = expected(data, batch, &x);
            let stream = played(data, batch);
            let mut y = vec![0.0; x.len()];
            let mut first = 0;
            for block in [0, 1, 64, 33, 52] {
                let (from, len) = (first * row, block * row);
                // SAFETY: blocks within x and y, which are two.
                let status = unsafe {
                    unrolled_stream_process(
                        stream,
                        x[from..].as_ptr(),
                        len,
                        y[from..].as_mut_ptr(),
                        len,
                    )
                };
                assert_eq!(status, Status::Ok);
                first += block;
            }
            assert_eq!(y, right);

            y.copy_from_slice(&x);
            let place = y.as_mut_ptr();
            // SAFETY: a stream, and one buffer for both.
            unsafe {
                assert_eq!(unrolled_stream_reset(stream), Status::Ok);
                assert_eq!(
                    unrolled_stream_process(stream, place, y.len(), place, y.len()),
                    Status::Ok
                );
            }
            assert_eq!(y, right);

            // The channels of out are those of in, the other way round.
            let mut channels = planar(&x, row);
            let from: Vec<*const f32> = channels.iter().map(|channel| channel.as_ptr()).collect();
            let to: Vec<*mut f32> =
                channels.iter_mut().rev().map(|channel| channel.as_mut_ptr()).collect();
            // SAFETY: as many channels as they say, of so many steps.
            unsafe {
                assert_eq!(unrolled_stream_reset(stream), Status::Ok);
                let (from, to) = (from.as_ptr(), to.as_ptr());
                let status = unrolled_stream_process_channels(stream, from, row, to, row, steps);
                assert_eq!(status, Status::Ok);
            }
            channels.reverse();
            assert_eq!(channels, planar(&right, row));
            free(stream);
        }
    }
}

#[test]
fn lengths_and_pointers_are_looked_at() {
    let (x, mut y) = ([0.5_f32; 12], [7.0_f32; 12]);
    let stream = played(STACK, 3);
    let (from, to) = (x.as_ptr(), y.as_mut_ptr());
    let process = |stream, from, from_len, to, to_len| {
        // SAFETY: what is wrong with these can be known.
        unsafe { unrolled_stream_process(stream, from, from_len, to, to_len) }
    };
    let unaligned = from.cast::<u8>().wrapping_add(1).cast();
    let huge = usize::MAX / 6 * 6;
    for (status, found) in [
        (Status::Pointer, process(ptr::null_mut(), from, 12, to, 12)),
        (Status::Pointer, process(stream, ptr::null(), 12, to, 12)),
        (Status::Pointer, process(stream, from, 12, ptr::null_mut(), 12)),
        (Status::Pointer, process(stream, unaligned, 6, to, 6)),
        (Status::Length, process(stream, from, 11, to, 12)),
        (Status::Length, process(stream, from, 12, to, 6)),
        (Status::Length, process(stream, from, 0, to, 6)),
        (Status::Length, process(stream, from, huge, to, huge)),
        (Status::Length, process(stream, from, usize::MAX, to, usize::MAX)),
        (Status::Overlap, process(stream, to, 6, to.wrapping_add(3), 6)),
        (Status::Overlap, process(stream, to.wrapping_add(5), 6, to, 6)),
        (Status::Ok, process(stream, ptr::null(), 0, ptr::null_mut(), 0)),
    ] {
        assert_eq!(found, status);
    }
    assert_eq!(y, [7.0; 12], "what is refused changes nothing");

    let to = y.as_mut_ptr();
    let (from6, to6) = ([from; 6], core::array::from_fn(|n| to.wrapping_add(2 * n)));
    let channels = |from: &[*const f32], from_len, to: &[*mut f32; 6], to_len, steps| {
        // SAFETY: as above.
        unsafe {
            let (from, to) = (from.as_ptr(), to.as_ptr());
            unrolled_stream_process_channels(stream, from, from_len, to, to_len, steps)
        }
    };
    let with = |n: usize, channel| {
        let mut all = from6;
        all[n] = channel;
        all
    };
    let met: [*mut f32; 6] = core::array::from_fn(|n| to.wrapping_add(n));
    for (status, found) in [
        (Status::Length, channels(&from6, 5, &to6, 6, 2)),
        (Status::Length, channels(&from6, 6, &to6, 7, 2)),
        (Status::Length, channels(&from6, 6, &to6, 6, usize::MAX)),
        (Status::Length, channels(&from6, 6, &to6, 6, usize::MAX / 4)),
        (Status::Pointer, channels(&with(3, ptr::null()), 6, &to6, 6, 2)),
        (Status::Pointer, channels(&with(5, unaligned), 6, &to6, 6, 2)),
        (Status::Pointer, channels(&from6, 6, &[ptr::null_mut(); 6], 6, 2)),
        (Status::Overlap, channels(&from6, 6, &met, 6, 2)),
        (Status::Overlap, channels(&with(1, to.wrapping_add(1)), 6, &to6, 6, 2)),
        (Status::Ok, channels(&[ptr::null(); 6], 6, &[ptr::null_mut(); 6], 6, 0)),
    ] {
        assert_eq!(found, status);
    }
    assert_eq!(y, [7.0; 12]);
    // SAFETY: the arrays of pointers are missing, which can be known.
    unsafe {
        let process = unrolled_stream_process_channels;
        assert_eq!(process(stream, ptr::null(), 6, to6.as_ptr(), 6, 2), Status::Pointer);
        assert_eq!(process(stream, from6.as_ptr(), 6, ptr::null(), 6, 2), Status::Pointer);
        assert_eq!(
            process(ptr::null_mut(), from6.as_ptr(), 6, to6.as_ptr(), 6, 2),
            Status::Pointer
        );
        assert_eq!(unrolled_stream_reset(ptr::null_mut()), Status::Pointer);
    }
    // Nothing of all that went into the states.
    let x = sound(12);
    // SAFETY: two arrays of so many.
    let status = unsafe { unrolled_stream_process(stream, x.as_ptr(), 12, y.as_mut_ptr(), 12) };
    assert_eq!(status, Status::Ok);
    assert_eq!(y[..], expected(STACK, 3, &x));
    free(stream);
}

#[test]
fn a_stream_at_work_is_busy_and_freed_models_live_on_in_it() {
    let stream = played(AMP, 1);
    let (x, mut y) = ([0.5_f32; 8], [0.0_f32; 8]);
    // SAFETY: a stream.
    let busy = unsafe { &(*stream).busy };
    busy.store(true, Ordering::Relaxed);
    // SAFETY: a stream and two arrays.
    unsafe {
        assert_eq!(unrolled_stream_process(stream, x.as_ptr(), 8, y.as_mut_ptr(), 8), Status::Busy);
        assert_eq!(unrolled_stream_reset(stream), Status::Busy);
        busy.store(false, Ordering::Relaxed);
        assert_eq!(unrolled_stream_process(stream, x.as_ptr(), 8, y.as_mut_ptr(), 8), Status::Ok);
    }
    assert!(!busy.load(Ordering::Relaxed));
    assert_eq!(y[..], expected(AMP, 1, &x));
    free(stream);
}

#[test]
fn what_is_no_model_is_refused_in_words() {
    let (status, message) = load(b"no model at all").unwrap_err();
    assert_eq!(status, Status::Format, "{message}");
    assert_eq!(load(&[]).unwrap_err().0, Status::Format);
    for size in [1, isize::MAX as usize + 1, usize::MAX] {
        let data: *const c_void = if size == 1 { ptr::null() } else { STACK.as_ptr().cast() };
        // SAFETY: what is wrong with these can be known.
        let found = outcome(|error| unsafe { unrolled_model_load_memory(data, size, error) });
        let status = if size == 1 { Status::Pointer } else { Status::Length };
        assert_eq!(found.unwrap_err().0, status);
    }
    // SAFETY: paths that end with a zero, or none.
    let file = |path: *const _| outcome(|error| unsafe { unrolled_model_load_file(path, error) });
    assert_eq!(file(ptr::null()).unwrap_err().0, Status::Pointer);
    let (status, message) = file(c"/no such/model.json".as_ptr()).unwrap_err();
    assert!(status == Status::File && message.starts_with("/no such/model.json: "), "{message}");
    let (status, message) = file(c".".as_ptr()).unwrap_err();
    assert!(status == Status::File, "a folder: {message}");
    let long = std::ffi::CString::new("ü".repeat(400)).unwrap();
    let (_, message) = file(long.as_ptr()).unwrap_err();
    assert!(message.ends_with('…') && message.len() < MESSAGE_SIZE, "{message}");
    // SAFETY: nobody asks why.
    assert!(unsafe { unrolled_model_load_file(c"/no such".as_ptr(), ptr::null_mut()) }.is_null());

    let model = load(AMP).unwrap();
    assert_eq!(stream(ptr::null(), 1).unwrap_err().0, Status::Pointer);
    let (status, message) = stream(model, 0).unwrap_err();
    assert!(status == Status::Invalid && message.contains("batch"), "{message}");
    for batch in [usize::MAX, usize::MAX / 8, 1 << 50] {
        assert_eq!(stream(model, batch).unwrap_err().0, Status::Memory);
    }
    // SAFETY: loaded above.
    unsafe { unrolled_model_free(model) };
}

#[test]
fn a_model_has_as_many_owners_as_it_is_given() {
    let (model, core) =
        (load(STACK).unwrap(), unrolled::formats::load::<f32>(STACK, Level::best()).unwrap());
    // SAFETY: each owner frees it once.
    unsafe {
        assert_eq!(unrolled_model_retain(model), model);
        assert!(unrolled_model_retain(ptr::null()).is_null());
        unrolled_model_free(model);
        unrolled_model_free(ptr::null_mut());
        unrolled_stream_free(ptr::null_mut());
        assert_eq!(unrolled_model_input_size(model), core.input_size());
        assert_eq!(unrolled_model_output_size(model), core.output_size());
        // LSTM(2, 4), GRU(4, 3), Dense(3, 4), Dense(4, 2); both biases of a recurrent layer.
        let (lstm, gru) = (16 * (2 + 4 + 2), 9 * (4 + 3 + 2));
        assert_eq!(unrolled_model_num_parameters(model), lstm + gru + 16 + 10);
        for number in
            [unrolled_model_input_size, unrolled_model_output_size, unrolled_model_num_parameters]
        {
            assert_eq!(number(ptr::null()), 0);
        }
        unrolled_model_free(model);
    }
}

#[test]
fn what_an_audio_thread_calls_asks_for_no_memory() {
    let stream = played(STACK, 1);
    let (x, mut y) = ([0.5_f32; 200], [0.0_f32; 200]);
    let (from, to) = (x.as_ptr(), y.as_mut_ptr());
    let asked = allocation_counter::measure(|| {
        // SAFETY: arrays of so many, channels of half as many; what else is wrong can be known.
        unsafe {
            let (left, right) = ([from, from.add(100)], [to, to.add(100)]);
            let (left, right) = (left.as_ptr(), right.as_ptr());
            let process = unrolled_stream_process_channels;
            assert_eq!(unrolled_stream_process(stream, from, 200, to, 200), Status::Ok);
            assert_eq!(unrolled_stream_process(stream, from, 3, to, 3), Status::Length);
            assert_eq!(unrolled_stream_process(stream, to, 20, to.add(2), 20), Status::Overlap);
            assert_eq!(process(stream, left, 2, right, 2, 100), Status::Ok);
            assert_eq!(process(stream, left, 1, right, 2, 100), Status::Length);
            assert_eq!(unrolled_stream_reset(stream), Status::Ok);
            assert!(!unrolled_status_text(Status::Overlap as i32).is_null());
        }
    });
    assert_eq!((asked.count_total, asked.count_current), (0, 0));
    free(stream);
}

#[test]
fn every_status_has_words_and_panics_stay_inside() {
    let texts: Vec<_> = (-1..=10).map(|code| text(unrolled_status_text(code))).collect();
    assert_eq!(texts[0], texts[11], "no status of the library");
    for (n, text) in texts[..11].iter().enumerate() {
        assert!(!text.is_empty() && !texts[..n].contains(text));
    }
    assert_eq!(text(unrolled_version()), env!("CARGO_PKG_VERSION"));
    assert_eq!(text(unrolled_isa()), Level::best().isa().name());

    std::panic::set_hook(Box::new(|_| ()));
    assert_eq!(check::guarded(3, || panic!("for a test")), 3);
    // SAFETY: memory for an error.
    let found = outcome(|error| unsafe { check::made::<u8>(error, || panic!("for a test")) });
    assert_eq!(found.unwrap_err().0, Status::Internal);
    let _ = std::panic::take_hook();
}
