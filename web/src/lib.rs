//! Models as a WebAssembly module with plain exports, for `unrolled.js`: one that is compiled in, or with the feature
//! `loader` any from its file. Both have the same exports.
//!
//! Numbers alone cross the boundary. Models and streams are handles, which are looked up; memory that JavaScript reads
//! and writes is the module's own, and lengths are held against it. What fails gives −1, or no address, and
//! [`error`] says why. A panic is a trap: the instance is then done with.
#![cfg_attr(target_arch = "wasm32", no_std)]
#![deny(missing_docs)]

#[cfg(feature = "loader")]
extern crate alloc;

#[cfg(not(feature = "loader"))]
mod fixed;
#[cfg(feature = "loader")]
mod loader;

#[cfg(not(feature = "loader"))]
use fixed::{NOTHING, Player, Text};
#[cfg(feature = "loader")]
use loader::{NOTHING, Player, Text};

use core::cell::UnsafeCell;
use core::ptr::null_mut;

/// The most steps of a call: a block of Web Audio.
const BLOCK: usize = 128;

const NO_MODEL: &str = "model: expected one that is loaded, and not freed";
const NO_STREAM: &str = "stream: expected one that is made, and not freed";
const TOO_LONG: &str = "steps: expected no more than a block has";

#[cfg(all(target_arch = "wasm32", feature = "loader"))]
#[global_allocator]
static HEAP: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// The module's one state.
struct State(UnsafeCell<(Player, Text)>);

// SAFETY: the module has no threads: it is compiled without atomics, so that its memory cannot be shared.
unsafe impl Sync for State {}

static STATE: State = State(UnsafeCell::new((Player::new(), NOTHING)));

/// What an export does; why it failed is kept. Exports alone call it, and none of them calls another.
fn player<R>(failed: R, work: impl FnOnce(&mut Player) -> Result<R, Text>) -> R {
    // SAFETY: one export runs at a time, and what it works with names no state but the player.
    let (player, why) = unsafe { &mut *STATE.0.get() };
    work(player).unwrap_or_else(|text| {
        *why = text;
        failed
    })
}

/// A number that JavaScript sees as it is; −1 where there is none.
fn number(work: impl FnOnce(&mut Player) -> Result<usize, Text>) -> i32 {
    player(-1, |player| work(player).map(|number| i32::try_from(number).unwrap_or(i32::MAX)))
}

/// Why the last call failed: UTF-8, [`error_length`] bytes.
#[unsafe(no_mangle)]
pub extern "C" fn error() -> *const u8 {
    // SAFETY: as above.
    unsafe { &*STATE.0.get() }.1.as_ptr()
}

/// Bytes of [`error`].
#[unsafe(no_mangle)]
pub extern "C" fn error_length() -> usize {
    // SAFETY: as above.
    unsafe { &*STATE.0.get() }.1.len()
}

/// The most steps that [`process`] takes, and how far apart channels stand.
#[unsafe(no_mangle)]
pub extern "C" fn block() -> usize {
    BLOCK
}

/// Room for a file of so many bytes, until the next call; null where there is none.
#[unsafe(no_mangle)]
pub extern "C" fn file(bytes: usize) -> *mut u8 {
    player(null_mut(), |player| player.file(bytes).map(<[u8]>::as_mut_ptr))
}

/// The model in the file, and the file's room is given back.
#[unsafe(no_mangle)]
pub extern "C" fn load() -> i32 {
    number(Player::load)
}

/// Values of a step that the model reads.
#[unsafe(no_mangle)]
pub extern "C" fn input_size(model: u32) -> i32 {
    number(|player| Ok(player.sizes(model)?[0]))
}

/// Values of a step that the model gives.
#[unsafe(no_mangle)]
pub extern "C" fn output_size(model: u32) -> i32 {
    number(|player| Ok(player.sizes(model)?[1]))
}

/// A stream of the model, of `batch` rows with states of their own.
#[unsafe(no_mangle)]
pub extern "C" fn stream(model: u32, batch: usize) -> i32 {
    number(|player| player.stream(model, batch))
}

/// Where a stream's block of inputs stands, (batch · input size) channels of [`block`] numbers; null for no stream.
#[unsafe(no_mangle)]
pub extern "C" fn x(stream: u32) -> *mut f32 {
    player(null_mut(), |player| player.blocks(stream).map(|[x, _]| x.as_mut_ptr()))
}

/// Where its block of outputs stands, (batch · output size) channels of [`block`] numbers; null for no stream.
#[unsafe(no_mangle)]
pub extern "C" fn y(stream: u32) -> *mut f32 {
    player(null_mut(), |player| player.blocks(stream).map(|[_, y]| y.as_mut_ptr()))
}

/// So many steps of the stream, from its block of inputs to that of outputs.
#[unsafe(no_mangle)]
pub extern "C" fn process(stream: u32, steps: usize) -> i32 {
    number(|player| player.process(stream, steps).map(|()| 0))
}

/// Takes the stream back to where the model starts.
#[unsafe(no_mangle)]
pub extern "C" fn reset(stream: u32) -> i32 {
    number(|player| player.reset(stream).map(|()| 0))
}

/// Forgets the model; its streams go on.
#[unsafe(no_mangle)]
pub extern "C" fn free_model(model: u32) -> i32 {
    number(|player| player.free_model(model).map(|()| 0))
}

/// Forgets the stream.
#[unsafe(no_mangle)]
pub extern "C" fn free_stream(stream: u32) -> i32 {
    number(|player| player.free_stream(stream).map(|()| 0))
}

#[cfg(target_arch = "wasm32")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}
