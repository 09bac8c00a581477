//! A program without `std` and without an allocator, built, run and taken apart: it trains a fixed-size LSTM.
//! Nothing that a step calls can panic, and nothing that training calls does anything but compute and check bounds.
//!
//! `UNROLLED_FREESTANDING` may name the program as built for x86-64 or AArch64 by other means: that is read, and whoever
//! built it runs it.
#![cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    feature = "alloc"
))]

#[allow(dead_code, unused_imports)] // the test of the machine code uses the rest
#[path = "machine_code/program/mod.rs"]
mod program;

use program::{HARMLESS, Program, Reach, is_end, is_panic, reach, read};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Functions that cannot panic.
const STEPS: [&str; 4] = ["lstm_step", "lstm_step_fast", "lstm_record", "gru_step"];
/// Functions in which the compiler may leave checks of bounds, which panic where they fail, and nothing else that does.
const LOOPS: [&str; 4] = ["rnn_step", "lstm_backward", "lstm_train", "read_out_step"];
/// What checks bounds, by the end of its name.
const BOUNDS: [&str; 6] = [
    "panicking::panic_bounds_check",
    "slice_index_fail",
    "out_of_bounds",
    "panic_const_div_by_zero",
    // Of `out_of_bounds`, and of a `match` that leaves out what cannot be.
    "panicking::panic_fmt",
    "copy_from_slice_impl::len_mismatch_fail",
];

fn run(command: &mut Command) {
    let out = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
}

/// The program, built and run.
fn built() -> PathBuf {
    if let Some(file) = std::env::var_os("UNROLLED_FREESTANDING") {
        return file.into();
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../freestanding");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("freestanding");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    run(Command::new(cargo)
        .args(["build", "--release", "--target-dir"])
        .arg(&target)
        .current_dir(&source)
        .env_remove("RUSTFLAGS"));
    let file = target.join("release/freestanding");
    run(&mut Command::new(&file));
    file
}

#[test]
fn a_program_without_std_trains_and_its_steps_cannot_panic() {
    let file = built();
    let Program { functions, slots, .. } = read(&file);
    for name in STEPS.into_iter().chain(LOOPS) {
        let Reach { own, others } = reach(&functions, &slots, |f| f == name, is_end);
        // Itself, and a function of each level.
        let levels = if cfg!(target_arch = "aarch64") { 2 } else { 3 };
        assert!(own.len() > levels, "{name} reaches {own:?}: are its calls read rightly?");
        let others: Vec<_> =
            others.iter().filter(|(_, to)| !HARMLESS.contains(&to.as_str())).collect();
        assert!(others.is_empty(), "{name}: {others:?}");
        let panics: Vec<_> = own.iter().filter(|f| is_panic(f)).collect();
        if STEPS.contains(&name) {
            assert!(panics.is_empty(), "{name} may panic: {panics:?}");
        } else {
            let bounds = |f: &&&String| BOUNDS.iter().any(|bound| f.ends_with(bound));
            assert!(panics.iter().all(|f| bounds(&f)), "{name} may panic: {panics:?}");
            // Calls to them go by way of memory, and are seen.
            let seen = name != "lstm_backward" || !panics.is_empty();
            assert!(
                seen,
                "the way back runs over any number of steps, and no check of bounds is found"
            );
        }
    }
}
