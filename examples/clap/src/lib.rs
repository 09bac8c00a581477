//! A CLAP audio effect that plays stereo sound through a model file: each channel is a row of a model of one input and
//! one output, between two gains.
//!
//! Whatever takes memory, waits or reads files happens on the host's main thread. The audio thread gets a new stream
//! from there by way of a [`Player`](unrolled::sequential::Player), and frees none.

mod audio;
mod entry;
mod gains;
mod main_thread;
mod model;
mod presets;
mod state;

pub use entry::Entry;

use clack_extensions::audio_ports::PluginAudioPorts;
use clack_extensions::params::PluginParams;
use clack_extensions::preset_discovery::PluginPresetLoad;
use clack_extensions::state::PluginState;
use clack_plugin::prelude::*;

/// What hosts know the effect by: their projects name it, so that it stays.
pub const ID: &str = "unrolled.effect";

/// The parts of the effect, which clack puts together.
pub struct Effect;

impl Plugin for Effect {
    type AudioProcessor<'a> = audio::Processor<'a>;
    type Shared<'a> = gains::Gains;
    type MainThread<'a> = main_thread::MainThread<'a>;

    fn declare_extensions(
        builder: &mut PluginExtensions<Self>,
        _shared: Option<&Self::Shared<'_>>,
    ) {
        builder
            .register::<PluginAudioPorts>()
            .register::<PluginParams>()
            .register::<PluginState>()
            .register::<PluginPresetLoad>();
    }
}

clack_export_entry!(Entry);
