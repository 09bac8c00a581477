//! What projects hold: what was saved comes back, what is no state changes nothing, and a model that is gone is not
//! forgotten.

use crate::host::{Rack, entry, play};
use crate::{data, expected, factor, sound, state, times};
use std::path::Path;
use unrolled::rng::Rng;

#[test]
fn what_was_saved_comes_back() {
    let amp = data("amp.nam");
    let mut rack = Rack::new(&entry());
    let nothing = rack.save();
    for (model, gains) in
        [(None, [0.0, 0.0]), (Some(amp.as_path()), [-3.3, 24.0]), (None, [0.1, -24.0])]
    {
        rack.load(&state(model, gains)).unwrap();
        let saved = rack.save();
        let mut other = Rack::new(&entry());
        assert_eq!(other.save(), nothing);
        other.load(saved.as_bytes()).unwrap();
        assert_eq!(other.save(), saved);
        assert_eq!([other.value(0), other.value(1)], gains);
        let rescans = other.instance.access_handler(|main| main.rescans.get());
        assert_eq!(rescans, 1, "the host is told of the gains");
        let saved: serde_json::Value = serde_json::from_str(&saved).unwrap();
        assert_eq!(saved["model"].as_str().map(Path::new), model);
    }
}

#[test]
fn what_is_no_state_changes_nothing() {
    let half = factor("state_half.json", 0.5);
    let mut rack = Rack::new(&entry());
    rack.load(&state(Some(&half), [0.0, 1.5])).unwrap();
    let saved = rack.save();
    let long = format!("{saved}{}", " ".repeat(1 << 16));
    let with = |key: &str, to: &str| {
        let mut state: serde_json::Value = serde_json::from_str(&saved).unwrap();
        state[key] = serde_json::from_str(to).unwrap();
        state.to_string()
    };
    let cases = [
        (String::new(), "expected a JSON object"),
        ("RIFF".into(), "expected a JSON object"),
        ("[]".into(), "expected a JSON object"),
        (saved[..saved.len() - 1].into(), "expected a JSON object"),
        ("[".repeat(10_000), "expected a JSON object"),
        ("{}".into(), "expected version 1, got null"),
        (with("version", "2"), "expected version 1, got 2"),
        (with("model", "[1]"), "expected a path or null as model, got [1]"),
        (with("input_gain_db", "null"), "expected -24 to 24 dB as input_gain_db, got null"),
        (with("output_gain_db", "24.5"), "expected -24 to 24 dB as output_gain_db, got 24.5"),
        (with("output_gain_db", "\"0\""), "expected -24 to 24 dB as output_gain_db, got \"0\""),
        (long, "expected at most 65536 bytes, got more"),
    ];
    for (case, error) in &cases {
        let refused = rack.load(case.as_bytes()).unwrap_err();
        assert!(refused.contains(error), "{refused} for {error}");
        assert_eq!(rack.save(), saved);
    }
    let mut audio = rack.start();
    let x = sound(100, 7);
    let factor = 10_f64.powf(1.5 / 20.0) as f32;
    assert_eq!(play(&mut audio, &x, 50), times(factor, &times(0.5, &x)));
    rack.stop(audio);
}

#[test]
fn damaged_states_are_errors_or_states() {
    let whole = state(Some(&factor("damaged_half.json", 0.5)), [1.0, -1.0]);
    let mut rack = Rack::new(&entry());
    let mut rng = Rng::new(8);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..2000 {
        let mut damaged = whole.clone();
        let at = (rng.uniform() * whole.len() as f64) as usize;
        match (rng.uniform() * 3.0) as u32 {
            0 => damaged[at] = (rng.uniform() * 256.0) as u8,
            1 => damaged.truncate(at),
            _ => drop(damaged.remove(at)),
        }
        match rack.load(&damaged) {
            Ok(()) => taken += 1,
            // Of the state, or of the file that it names; what panics is logged as such.
            Err(error) => {
                refused += 1;
                assert!(!error.is_empty() && !error.to_lowercase().contains("panic"), "{error}");
            }
        }
        // Whatever it was, what is saved is a state.
        let saved = rack.save();
        if let Err(error) = rack.load(saved.as_bytes()) {
            assert!(!error.contains("state: "), "{error}");
        }
        assert_eq!(rack.save(), saved);
    }
    println!("{taken} were taken, {refused} refused");
    assert!(taken > 0 && refused > 0);
}

#[test]
fn a_model_that_is_gone_is_not_forgotten() {
    let gone = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gone.nam");
    let mut rack = Rack::new(&entry());
    rack.load(&state(Some(&data("amp.nam")), [0.0, 0.0])).unwrap();
    let error = rack.load(&state(Some(&gone), [0.0, -6.0])).unwrap_err();
    assert!(error.contains("gone.nam"), "{error}");
    assert_eq!(rack.value(1), -6.0);
    let saved = rack.save();
    assert!(saved.contains("gone.nam"), "{saved}");
    let mut audio = rack.start();
    let x = sound(100, 9);
    let factor = 10_f64.powf(-6.0 / 20.0) as f32;
    assert_eq!(play(&mut audio, &x, 100), times(factor, &x));
    std::fs::copy(data("amp.nam"), &gone).unwrap();
    let back = rack.load(saved.as_bytes());
    std::fs::remove_file(&gone).unwrap();
    back.unwrap();
    let y = expected(&data("amp.nam"), &x);
    assert_eq!(play(&mut audio, &x, 100), times(factor, &y));
    rack.stop(audio);
}
