//! A program without `std` and without an allocator, built, run and taken apart: it trains a fixed-size
//! LSTM, and nothing a step calls can panic or allocate.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::Command;

const STEPS: [&str; 5] = ["lstm_step", "lstm_step_fast", "gru_step", "rnn_step", "read_out_step"];

fn output(command: &mut Command) -> String {
    let out = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn a_program_without_std_trains_and_its_steps_cannot_panic() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../freestanding");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("freestanding");
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    output(
        Command::new(cargo)
            .args(["build", "--release", "--target-dir"])
            .arg(&target)
            .current_dir(&source)
            .env_remove("RUSTFLAGS"),
    );
    let program = target.join("release/freestanding");
    output(&mut Command::new(&program));

    let listing = output(Command::new("objdump").args(["-d", "--no-show-raw-insn"]).arg(&program));
    let calls = calls(&listing);
    for step in STEPS {
        assert!(calls.contains_key(step), "{step} is no symbol of the program");
        let mut reached = HashSet::new();
        let mut next = vec![step];
        while let Some(function) = next.pop() {
            if reached.insert(function) {
                next.extend(calls.get(function).into_iter().flatten().map(String::as_str));
            }
        }
        for function in &reached {
            let bad = [
                "panic",
                "unwrap_failed",
                "expect_failed",
                "alloc",
                "malloc",
                "out_of_bounds",
                "slice_",
                "*",
            ];
            assert!(!bad.iter().any(|b| function.contains(b)), "{step} reaches {function}");
        }
        assert!(reached.len() > 1, "{step} calls nothing: is the listing read rightly?");
    }
}

/// Function → the functions it calls or jumps to, and `*` if it calls through a register, to who knows where.
fn calls(listing: &str) -> HashMap<String, HashSet<String>> {
    let mut calls: HashMap<String, HashSet<String>> = HashMap::new();
    let mut current = String::new();
    for line in listing.lines() {
        if let Some(name) = line.strip_suffix(">:").and_then(|l| l.split_once('<')) {
            current = name.1.to_owned();
            calls.entry(current.clone()).or_default();
        } else if line.contains("call") && line.contains("*%") {
            calls.entry(current.clone()).or_default().insert("*".to_owned());
        } else if let Some((_, to)) = line.split_once('<')
            && (line.contains("call") || line.contains("\tj"))
        {
            let to = to.trim_end_matches('>').split('+').next().unwrap_or("");
            if to != current {
                calls.entry(current.clone()).or_default().insert(to.to_owned());
            }
        }
    }
    calls
}
