//! What a host keeps of the effect in its projects, as JSON:
//! `{"version": 1, "model": PATH or null, "input_gain_db": 0.0, "output_gain_db": 0.0}`

use crate::gains::{Gain, RANGE};
use serde_json::{Map, Value, json};
use std::fmt;

/// Of what is written; the only one that is read.
const VERSION: u64 = 1;

/// Bytes that a state may have: paths are shorter.
pub const LONGEST: u64 = 1 << 16;

#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The path of the model, if there is one.
    pub model: Option<String>,
    /// In dB, by gain.
    pub gains: [f64; 2],
}

/// Why something is no state.
#[derive(Debug)]
pub struct BadState {
    expected: String,
    got: String,
}

impl fmt::Display for BadState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BadState { expected, got } = self;
        write!(f, "state: expected {expected}, got {got}")
    }
}

impl std::error::Error for BadState {}

impl BadState {
    fn new(expected: impl Into<String>, got: impl Into<String>) -> Self {
        BadState { expected: expected.into(), got: got.into() }
    }
}

const fn key(gain: Gain) -> &'static str {
    match gain {
        Gain::Input => "input_gain_db",
        Gain::Output => "output_gain_db",
    }
}

impl State {
    pub fn to_json(&self) -> String {
        let mut object = Map::new();
        object.insert("version".into(), json!(VERSION));
        object.insert("model".into(), json!(self.model));
        for gain in Gain::ALL {
            object.insert(key(gain).into(), json!(self.gains[gain as usize]));
        }
        Value::Object(object).to_string()
    }

    pub fn parse(data: &[u8]) -> Result<State, BadState> {
        if data.len() as u64 > LONGEST {
            return Err(BadState::new(format!("at most {LONGEST} bytes"), "more"));
        }
        let object: Map<String, Value> = serde_json::from_slice(data)
            .map_err(|error| BadState::new("a JSON object", error.to_string()))?;
        let at = |key: &str| object.get(key).unwrap_or(&Value::Null);
        if at("version").as_u64() != Some(VERSION) {
            let expected = format!("version {VERSION}");
            return Err(BadState::new(expected, at("version").to_string()));
        }
        let model = match at("model") {
            Value::Null => None,
            Value::String(path) => Some(path.clone()),
            other => return Err(BadState::new("a path or null as model", other.to_string())),
        };
        let mut gains = [0.0; 2];
        for gain in Gain::ALL {
            let value = at(key(gain));
            gains[gain as usize] =
                value.as_f64().filter(|db| RANGE.contains(db)).ok_or_else(|| {
                    let (least, most) = (RANGE.start(), RANGE.end());
                    let expected = format!("{least} to {most} dB as {}", key(gain));
                    BadState::new(expected, value.to_string())
                })?;
        }
        Ok(State { model, gains })
    }
}
