//! Where `link.x` finds the memory of the board.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let board = if env::var("TARGET").expect("cargo sets it").starts_with("thumbv8m") {
        "v8m"
    } else {
        "v7em"
    };
    fs::copy(format!("memory/{board}.x"), out.join("memory.x")).expect("a map of the memory");
    println!("cargo::rustc-link-search={}", out.display());
    println!("cargo::rustc-link-arg=-Tlink.x");
    println!("cargo::rustc-link-arg=--nmagic");
    println!("cargo::rerun-if-changed=memory");
}
