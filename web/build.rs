//! Which model is compiled in: `UNROLLED_MODEL`, else the example.

use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let variable = |name| env::var_os(name).map(PathBuf::from).unwrap_or_default();
    let example = variable("CARGO_MANIFEST_DIR").join("src/model.rs");
    let model = env::var_os("UNROLLED_MODEL").map_or(example, PathBuf::from);
    let source = format!("#[path = {model:?}]\npub mod model;\n");
    fs::write(variable("OUT_DIR").join("model.rs"), source)?;
    println!("cargo::rerun-if-env-changed=UNROLLED_MODEL");
    println!("cargo::rerun-if-changed=build.rs");
    if variable("CARGO_CFG_TARGET_ARCH").as_os_str() == "wasm32" {
        // A step takes 4 KiB and little more; a megabyte is what the linker would set aside.
        println!("cargo::rustc-link-arg-cdylib=-zstack-size=131072");
    }
    Ok(())
}
