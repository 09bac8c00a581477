//! Writes `include/unrolled.h`, which cbindgen makes of the crate: `cargo run -p unrolled-capi-header`. A crate of its
//! own, so that whoever builds the C library need not build cbindgen, nor the library once more for its sake.

use std::error::Error;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    Ok(std::fs::write(file(), header()?)?)
}

fn capi() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn file() -> PathBuf {
    capi().join("include/unrolled.h")
}

fn header() -> Result<String, Box<dyn Error>> {
    let config = cbindgen::Config::from_file(capi().join("cbindgen.toml"))?;
    let mut made = Vec::new();
    cbindgen::generate_with_config(capi(), config)?.write(&mut made);
    Ok(String::from_utf8(made)?)
}

#[test]
fn the_header_is_not_stale() {
    let (committed, made) = (std::fs::read_to_string(file()).unwrap(), header().unwrap());
    let differs = committed.lines().zip(made.lines()).position(|(old, new)| old != new);
    let line = differs.map_or(committed.lines().count().min(made.lines().count()), |n| n) + 1;
    assert!(
        committed == made,
        "include/unrolled.h is stale from line {line} on: run `cargo run -p unrolled-capi-header`"
    );
}
