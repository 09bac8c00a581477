//! What came of a call: a number, and, where there is time for one, a sentence.

use core::ffi::{CStr, c_char, c_int};
use unrolled::formats::LoadError;

/// What came of a call. Later versions may add values.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It was done.
    Ok = 0,
    /// A pointer is NULL, or not aligned to what it points to.
    Pointer = 1,
    /// A number of values, channels or steps is not what the model and the batch ask for.
    Length = 2,
    /// Two buffers overlap and are not one and the same.
    Overlap = 3,
    /// The stream is at work in another thread.
    Busy = 4,
    /// An argument cannot be what it is; the message says what it must be.
    Invalid = 5,
    /// The file cannot be read.
    File = 6,
    /// The file's content is no model that this library reads; the message says why.
    Format = 7,
    /// There is not enough memory.
    Memory = 8,
    /// A mistake in the library itself. A stream that gave it may be reset or freed.
    Internal = 9,
}

impl Status {
    fn from_code(code: c_int) -> Option<Status> {
        use Status::*;
        let all = [Ok, Pointer, Length, Overlap, Busy, Invalid, File, Format, Memory, Internal]
            .into_iter();
        all.into_iter().find(|&status| status as c_int == code)
    }

    fn text(self) -> &'static CStr {
        match self {
            Status::Ok => c"done",
            Status::Pointer => c"a pointer is NULL or not aligned",
            Status::Length => c"a number of values, channels or steps does not fit the model",
            Status::Overlap => c"two buffers overlap and are not the same",
            Status::Busy => c"the stream is at work in another thread",
            Status::Invalid => c"an argument cannot be what it is",
            Status::File => c"the file cannot be read",
            Status::Format => c"the content is no model that can be read",
            Status::Memory => c"not enough memory",
            Status::Internal => c"a mistake in the library",
        }
    }
}

/// A few words for a status, which live as long as the program. Safe on an audio thread.
#[unsafe(no_mangle)]
pub extern "C" fn unrolled_status_text(status: c_int) -> *const c_char {
    Status::from_code(status).map_or(c"no status of this library", Status::text).as_ptr()
}

/// The bytes of a message, its final zero among them.
pub const MESSAGE_SIZE: usize = 508;

/// Why a model or a stream was not made. It lies where you want it, on the stack for instance, and holds nothing that
/// would have to be freed.
#[repr(C)]
pub struct Failure {
    /// UNROLLED_STATUS_OK where the call did what it was to do.
    pub status: Status,
    /// A sentence in UTF-8 that ends with a zero, empty after success. One that is too long ends with "…".
    pub message: [c_char; MESSAGE_SIZE],
}

/// What a function gives its caller besides a NULL.
pub(crate) struct Refusal {
    pub status: Status,
    pub message: String,
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Refusal { status, message: status.text().to_string_lossy().into_owned() }
    }
}

impl From<unrolled::Error> for Refusal {
    fn from(error: unrolled::Error) -> Self {
        let status = match error {
            unrolled::Error::Length { .. } => Status::Length,
            unrolled::Error::TooLarge { .. } => Status::Memory,
            _ => Status::Invalid,
        };
        Refusal { status, message: error.to_string() }
    }
}

impl From<LoadError> for Refusal {
    fn from(error: LoadError) -> Self {
        let status = match error {
            LoadError::Model(unrolled::Error::TooLarge { .. }) => Status::Memory,
            LoadError::File(_) => Status::File,
            _ => Status::Format,
        };
        Refusal { status, message: error.to_string() }
    }
}

impl Failure {
    /// What `done` says, for the caller.
    pub(crate) fn of<T>(done: &Result<T, Refusal>) -> Self {
        let (status, message) = match done {
            Ok(_) => (Status::Ok, ""),
            Err(refusal) => (refusal.status, &*refusal.message),
        };
        Failure { status, message: bounded(message).map(|byte| byte as c_char) }
    }
}

/// A message of whole characters that ends with a zero.
fn bounded(text: &str) -> [u8; MESSAGE_SIZE] {
    const MORE: &str = "…";
    let mut bytes = [0; MESSAGE_SIZE];
    let room = MESSAGE_SIZE - 1;
    let most = if text.len() <= room { text.len() } else { room - MORE.len() };
    let kept = (0..=most).rfind(|&n| text.is_char_boundary(n)).unwrap_or(0);
    let more = if kept < text.len() { MORE } else { "" };
    bytes[..kept].copy_from_slice(&text.as_bytes()[..kept]);
    bytes[kept..kept + more.len()].copy_from_slice(more.as_bytes());
    // A zero in the text would end it.
    bytes[..kept].iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b' ');
    bytes
}
