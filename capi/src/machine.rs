//! What the library is, and what it runs on.

use core::ffi::{CStr, c_char};
use unrolled::{Isa, Level};

/// The library's version, "0.1.0" for instance.
#[unsafe(no_mangle)]
pub extern "C" fn unrolled_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// The instruction set whose kernels models loaded from now on will run: "portable", "neon", "avx2" or "avx512". The
/// environment variable UNROLLED_MAX_ISA, read at the first load or call of this, sets the highest. The first call
/// may ask for memory.
#[unsafe(no_mangle)]
pub extern "C" fn unrolled_isa() -> *const c_char {
    let name: &CStr = match Level::best().isa() {
        Isa::Portable => c"portable",
        Isa::Neon => c"neon",
        Isa::Avx2 => c"avx2",
        Isa::Avx512 => c"avx512",
    };
    name.as_ptr()
}
