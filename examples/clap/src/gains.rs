//! The parameters: a gain before the model and one after it, which every thread may read and set.

use clack_plugin::events::event_types::ParamValueEvent;
use clack_plugin::prelude::*;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};

/// In dB; what lies outside becomes the nearer end.
pub const RANGE: RangeInclusive<f64> = -24.0..=24.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gain {
    Input,
    Output,
}

impl Gain {
    pub const ALL: [Gain; 2] = [Gain::Input, Gain::Output];

    /// Projects hold automation under these numbers, so that they stay.
    pub const fn id(self) -> ClapId {
        ClapId::new(self as u32)
    }

    pub fn of(id: ClapId) -> Option<Gain> {
        Self::ALL.into_iter().find(|gain| gain.id() == id)
    }

    pub const fn name(self) -> &'static str {
        match self {
            Gain::Input => "Input gain",
            Gain::Output => "Output gain",
        }
    }
}

/// The bits of each gain in dB, 0 at first.
#[derive(Default)]
pub struct Gains([AtomicU64; 2]);

impl PluginShared<'_> for Gains {}

impl Gains {
    /// dB
    pub fn get(&self, gain: Gain) -> f64 {
        f64::from_bits(self.0[gain as usize].load(Ordering::Relaxed))
    }

    /// dB
    pub fn set(&self, gain: Gain, value: f64) {
        if !value.is_nan() {
            let value = value.clamp(*RANGE.start(), *RANGE.end());
            self.0[gain as usize].store(value.to_bits(), Ordering::Relaxed);
        }
    }

    /// What samples are multiplied by: exactly 1 at 0 dB.
    pub fn factor(&self, gain: Gain) -> f32 {
        10_f64.powf(self.get(gain) / 20.0) as f32
    }

    /// Takes what events say of the parameters.
    pub fn take<'e>(&self, events: impl IntoIterator<Item = &'e UnknownEvent>) {
        for event in events {
            if let Some(event) = event.as_event::<ParamValueEvent>()
                && let Some(gain) = event.param_id().and_then(Gain::of)
            {
                self.set(gain, event.value());
            }
        }
    }
}
