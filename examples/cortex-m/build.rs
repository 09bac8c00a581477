//! Where `link.x` finds the memory of the board: a file of `memory`, which `UNROLLED_MEMORY` names.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let target = env::var("TARGET").expect("cargo sets it");
    let usual = if target.starts_with("thumbv8m") { "m33" } else { "m4" };
    let memory = env::var("UNROLLED_MEMORY").unwrap_or_else(|_| usual.into());
    fs::copy(format!("memory/{memory}.x"), out.join("memory.x")).expect("a map of the memory");
    println!("cargo::rustc-link-search={}", out.display());
    println!("cargo::rustc-link-arg=-Tlink.x");
    println!("cargo::rustc-link-arg=--nmagic");
    println!("cargo::rerun-if-changed=memory");
    println!("cargo::rerun-if-env-changed=UNROLLED_MEMORY");
}
