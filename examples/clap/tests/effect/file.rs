//! The plug-in as the file that hosts load.

use crate::host::{Rack, play};
use crate::{data, expected, sound, state};
use clack_host::prelude::PluginEntry;
use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::path::Path;

/// Bundles of macOS are folders: there the library is loaded as it is.
#[test]
fn the_file_is_a_plug_in() {
    // Cargo builds it before this test, beside which it lies.
    let name = format!("{DLL_PREFIX}unrolled_clap{DLL_SUFFIX}");
    let built = std::env::current_exe().unwrap().with_file_name(name);
    let mut file = built.clone();
    if cfg!(not(target_os = "macos")) {
        file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("unrolled.clap");
        std::fs::copy(&built, &file).unwrap_or_else(|error| panic!("{}: {error}", built.display()));
    }
    // SAFETY: the file was built from the entry that is tested here.
    #[allow(unsafe_code)]
    let entry = unsafe { PluginEntry::load(&file) }.unwrap();
    let factory = entry.get_plugin_factory().unwrap();
    let ids: Vec<_> = factory.plugin_descriptors().map(|effect| effect.id()).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(ids[0].unwrap().to_str(), Ok(unrolled_clap::ID));

    let mut rack = Rack::new(&entry);
    rack.load(&state(Some(&data("amp.nam")), [0.0, 0.0])).unwrap();
    let mut audio = rack.start();
    let x = sound(1000, 11);
    assert_eq!(play(&mut audio, &x, 128), expected(&data("amp.nam"), &x));
    rack.stop(audio);
}
