//! What runs on the host's main thread: models are read, sent to the audio thread and freed here.

use crate::gains::{Gain, Gains, RANGE};
use crate::model::{self, Refused};
use crate::state::{LONGEST, State};
use clack_extensions::audio_ports::{
    AudioPortFlags, AudioPortInfo, AudioPortInfoWriter, AudioPortType, PluginAudioPortsImpl,
};
use clack_extensions::params::{
    HostParams, ParamDisplayWriter, ParamInfo, ParamInfoFlags, ParamInfoWriter, ParamRescanFlags,
    PluginMainThreadParams,
};
use clack_extensions::preset_discovery::preset_data::Location;
use clack_extensions::preset_discovery::{HostPresetLoad, PluginPresetLoadImpl};
use clack_extensions::state::{HostState, PluginStateImpl};
use clack_plugin::prelude::*;
use clack_plugin::stream::{InputStream, OutputStream};
use clack_plugin::utils::Cookie;
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString};
use std::fmt::Write as _;
use std::io::{Read, Write};
use unrolled::sequential::{Player, Replacer, Stream, player};

pub struct MainThread<'a> {
    host: HostMainThreadHandle<'a>,
    gains: &'a Gains,
    /// The path of the model, if there is one.
    model: RefCell<Option<String>>,
    replacer: RefCell<Replacer<f32>>,
    /// Here while the effect is not active.
    player: Cell<Option<Player<f32>>>,
}

impl<'a> MainThread<'a> {
    pub fn new(host: HostMainThreadHandle<'a>, gains: &'a Gains) -> Result<Self, PluginError> {
        let (player, replacer) = player(model::none()?);
        let (replacer, player) = (RefCell::new(replacer), Cell::new(Some(player)));
        Ok(MainThread { host, gains, model: RefCell::new(None), replacer, player })
    }

    pub fn lend_player(&self) -> Result<Player<f32>, PluginError> {
        self.player.take().ok_or(PluginError::Message("expected an effect that is not active"))
    }

    pub fn take_player(&self, player: Player<f32>) {
        self.player.set(Some(player));
    }

    /// Frees the stream that the audio thread has left, if it has.
    pub fn free(&self) {
        self.replacer.borrow_mut().free();
    }

    /// From the next block on.
    fn play(&self, stream: Stream<f32>, path: Option<String>) -> Result<(), PluginError> {
        self.replacer.borrow_mut().replace(stream)?;
        self.model.replace(path);
        Ok(())
    }
}

impl<'a> PluginMainThread<'a, Gains> for MainThread<'a> {
    /// The audio thread has left a stream.
    fn on_main_thread(&self) {
        self.free();
    }
}

impl PluginStateImpl for MainThread<'_> {
    fn save(&self, output: &mut OutputStream) -> Result<(), PluginError> {
        let gains = Gain::ALL.map(|gain| self.gains.get(gain));
        let state = State { model: self.model.borrow().clone(), gains };
        Ok(output.write_all(state.to_json().as_bytes())?)
    }

    /// Where a state is as it should be and its model cannot be read, the state is taken all the same: the sound passes
    /// through, the error tells why, and what is saved next names the model still.
    fn load(&self, input: &mut InputStream) -> Result<(), PluginError> {
        let mut data = Vec::new();
        input.by_ref().take(LONGEST + 1).read_to_end(&mut data)?;
        let State { model: path, gains } = State::parse(&data)?;
        let (stream, refused) = match path.as_deref().map(model::open) {
            Some(Ok(stream)) => (stream, None),
            Some(Err(refused)) => (model::none()?, Some(refused)),
            None => (model::none()?, None),
        };
        self.play(stream, path)?;
        for gain in Gain::ALL {
            self.gains.set(gain, gains[gain as usize]);
        }
        if let Some(params) = self.host.get_extension::<HostParams>() {
            params.rescan(&self.host, ParamRescanFlags::VALUES);
        }
        refused.map_or(Ok(()), |refused| Err(refused.into()))
    }
}

impl MainThread<'_> {
    fn load_file(&self, path: &CStr) -> Result<(), (PluginError, i32)> {
        let path = path.to_str().map_err(|error| (error.into(), 0))?;
        let refused = |refused: Refused| {
            let number = refused.os_error();
            (refused.into(), number)
        };
        let stream = model::open(path).map_err(refused)?;
        self.play(stream, Some(path.into())).map_err(|error| (error, 0))
    }
}

impl PluginPresetLoadImpl for MainThread<'_> {
    /// Where a file is refused, what played goes on.
    fn load_from_location(
        &self,
        location: Location,
        load_key: Option<&CStr>,
    ) -> Result<(), PluginError> {
        let loaded = match location {
            Location::File { path } => self.load_file(path),
            Location::Plugin => Err((PluginError::Message("expected the path of a model"), 0)),
        };
        let presets = self.host.get_extension::<HostPresetLoad>();
        match loaded {
            Ok(()) => {
                if let Some(presets) = presets {
                    presets.loaded(&self.host, location, load_key);
                }
                if let Some(state) = self.host.get_extension::<HostState>() {
                    state.mark_dirty(&self.host);
                }
                Ok(())
            }
            Err((error, number)) => {
                if let Some(presets) = presets {
                    // Of a message with a NUL, the number alone goes out.
                    let message = CString::new(error.to_string()).ok();
                    presets.on_error(&self.host, location, load_key, number, message.as_deref());
                }
                Err(error)
            }
        }
    }
}

impl PluginAudioPortsImpl for MainThread<'_> {
    fn count(&self, _is_input: bool) -> u32 {
        1
    }

    fn get(&self, index: u32, _is_input: bool, writer: &mut AudioPortInfoWriter) {
        if index == 0 {
            writer.set(&AudioPortInfo {
                id: ClapId::new(0),
                name: b"main",
                channel_count: model::CHANNELS as u32,
                flags: AudioPortFlags::IS_MAIN,
                port_type: Some(AudioPortType::STEREO),
                in_place_pair: Some(ClapId::new(0)),
            });
        }
    }
}

impl PluginMainThreadParams for MainThread<'_> {
    fn count(&self) -> u32 {
        Gain::ALL.len() as u32
    }

    fn get_info(&self, index: u32, writer: &mut ParamInfoWriter) {
        if let Some(gain) = Gain::ALL.get(index as usize) {
            writer.set(&ParamInfo {
                id: gain.id(),
                flags: ParamInfoFlags::IS_AUTOMATABLE,
                cookie: Cookie::empty(),
                name: gain.name().as_bytes(),
                module: b"",
                min_value: *RANGE.start(),
                max_value: *RANGE.end(),
                default_value: 0.0,
            });
        }
    }

    fn get_value(&self, id: ClapId) -> Option<f64> {
        Gain::of(id).map(|gain| self.gains.get(gain))
    }

    fn value_to_text(
        &self,
        id: ClapId,
        value: f64,
        writer: &mut ParamDisplayWriter,
    ) -> std::fmt::Result {
        Gain::of(id).ok_or(std::fmt::Error)?;
        write!(writer, "{value:.1} dB")
    }

    fn text_to_value(&self, id: ClapId, text: &CStr) -> Option<f64> {
        Gain::of(id)?;
        let number = text.to_str().ok()?.trim().trim_end_matches("dB").trim_end();
        number.parse().ok().filter(|value| RANGE.contains(value))
    }

    fn flush(&self, input: &InputEvents, _output: &mut OutputEvents) {
        self.gains.take(input);
    }
}
