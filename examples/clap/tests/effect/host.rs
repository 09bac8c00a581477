//! A host of one effect, in this process.

use clack_extensions::log::{HostLog, HostLogImpl, LogSeverity};
use clack_extensions::params::{
    HostParams, HostParamsImplMainThread, HostParamsImplShared, ParamClearFlags, ParamRescanFlags,
    PluginParams,
};
use clack_extensions::preset_discovery::preset_data::Location;
use clack_extensions::preset_discovery::{HostPresetLoad, HostPresetLoadImpl, PluginPresetLoad};
use clack_extensions::state::{HostState, HostStateImpl, PluginState};
use clack_host::events::event_types::ParamValueEvent;
use clack_host::prelude::*;
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// One sound a channel.
pub type Stereo = [Vec<f32>; 2];

#[derive(Default)]
pub struct Shared {
    /// Callbacks that were asked for.
    pub callbacks: AtomicU32,
    pub log: Mutex<Vec<String>>,
}

impl SharedHandler<'_> for Shared {
    fn request_restart(&self) {}
    fn request_process(&self) {}
    fn request_callback(&self) {
        self.callbacks.fetch_add(1, Ordering::Relaxed);
    }
}

impl HostLogImpl for Shared {
    fn log(&self, _severity: LogSeverity, message: &str) {
        self.log.lock().unwrap().push(message.into());
    }
}

impl HostParamsImplShared for Shared {
    fn request_flush(&self) {}
}

/// What the effect told of.
#[derive(Default)]
pub struct Main {
    pub dirty: Cell<u32>,
    pub rescans: Cell<u32>,
    pub presets: RefCell<Vec<Result<(), String>>>,
}

impl MainThreadHandler<'_> for Main {}

impl HostParamsImplMainThread for Main {
    fn rescan(&self, _flags: ParamRescanFlags) {
        self.rescans.set(self.rescans.get() + 1);
    }
    fn clear(&self, _param: ClapId, _flags: ParamClearFlags) {}
}

impl HostStateImpl for Main {
    fn mark_dirty(&self) {
        self.dirty.set(self.dirty.get() + 1);
    }
}

impl HostPresetLoadImpl for Main {
    fn on_error(
        &self,
        _location: Location,
        _key: Option<&CStr>,
        _number: i32,
        message: Option<&CStr>,
    ) {
        let message = message.unwrap_or_default().to_str().unwrap();
        self.presets.borrow_mut().push(Err(message.into()));
    }
    fn loaded(&self, _location: Location, _key: Option<&CStr>) {
        self.presets.borrow_mut().push(Ok(()));
    }
}

pub struct Host;

impl HostHandlers for Host {
    type Shared<'a> = Shared;
    type MainThread<'a> = Main;
    type AudioProcessor<'a> = ();

    fn declare_extensions(builder: &mut HostExtensions<Self>, _: &Shared) {
        builder
            .register::<HostLog>()
            .register::<HostParams>()
            .register::<HostState>()
            .register::<HostPresetLoad>();
    }
}

pub fn info() -> HostInfo {
    HostInfo::new("test", "unrolled", "", "0").unwrap()
}

/// The effect as a part of this program.
pub fn entry() -> PluginEntry {
    PluginEntry::load_from_clack::<unrolled_clap::Entry>(c"").unwrap()
}

pub struct Rack {
    pub instance: PluginInstance<Host>,
    pub params: PluginParams,
    pub state: PluginState,
    pub presets: PluginPresetLoad,
}

impl Rack {
    pub fn new(entry: &PluginEntry) -> Self {
        let id = CString::new(unrolled_clap::ID).unwrap();
        let instance =
            PluginInstance::new(|()| Shared::default(), |_| Main::default(), entry, &id, &info());
        let instance: PluginInstance<Host> = instance.unwrap();
        let handle = instance.plugin_shared_handle();
        let (params, state) = (handle.get_extension().unwrap(), handle.get_extension().unwrap());
        let presets = handle.get_extension().unwrap();
        Rack { instance, params, state, presets }
    }

    pub fn start(&mut self) -> StartedPluginAudioProcessor<Host> {
        let configuration = PluginAudioConfiguration {
            sample_rate: 48_000.0,
            min_frames_count: 1,
            max_frames_count: 4096,
        };
        self.instance.activate(|_, _| (), configuration).unwrap().start_processing().unwrap()
    }

    pub fn stop(&mut self, audio: StartedPluginAudioProcessor<Host>) {
        self.instance.deactivate(audio.stop_processing());
    }

    /// Whether the effect took it; if not, what it logged.
    pub fn load(&mut self, state: &[u8]) -> Result<(), String> {
        let before = self.logged().len();
        let mut state = state;
        let loaded = self.state.load(&self.instance.plugin_handle(), &mut state);
        loaded.map_err(|_| self.logged()[before..].join("\n"))
    }

    pub fn save(&mut self) -> String {
        let mut state = Vec::new();
        self.state.save(&self.instance.plugin_handle(), &mut state).unwrap();
        String::from_utf8(state).unwrap()
    }

    /// The same with a model as preset.
    pub fn preset(&mut self, path: &Path) -> Result<(), String> {
        let before = self.logged().len();
        let path = CString::new(path.to_str().unwrap()).unwrap();
        let location = Location::File { path: &path };
        let loaded =
            self.presets.load_from_location(&self.instance.plugin_handle(), location, None);
        loaded.map_err(|_| self.logged()[before..].join("\n"))
    }

    pub fn logged(&self) -> Vec<String> {
        self.instance.access_shared_handler(|shared| shared.log.lock().unwrap().clone())
    }

    pub fn callbacks(&self) -> u32 {
        self.instance.access_shared_handler(|shared| shared.callbacks.load(Ordering::Relaxed))
    }

    /// What the effect says of a parameter.
    pub fn value(&mut self, id: u32) -> f64 {
        self.params.get_value(&self.instance.plugin_handle(), ClapId::new(id)).unwrap()
    }
}

/// A change of a parameter, at a sample of a block.
pub fn change(time: u32, id: u32, value: f64) -> ParamValueEvent {
    ParamValueEvent::new(time, ClapId::new(id), Pckn::match_all(), value)
}

/// A block, by buffers for what goes in and what comes out.
pub fn block(
    audio: &mut StartedPluginAudioProcessor<Host>,
    x: &mut [&mut [f32]; 2],
    y: &mut [&mut [f32]; 2],
    events: &[ParamValueEvent],
) {
    let (mut ins, mut outs) = (AudioPorts::with_capacity(2, 1), AudioPorts::with_capacity(2, 1));
    let x = x.iter_mut().map(|x| InputChannel::variable(&mut **x));
    let x = AudioPortBuffer { latency: 0, channels: AudioPortBufferType::f32_input_only(x) };
    let y = y.iter_mut().map(|y| &mut **y);
    let y = AudioPortBuffer { latency: 0, channels: AudioPortBufferType::f32_output_only(y) };
    let (x, mut y) = (ins.with_input_buffers([x]), outs.with_output_buffers([y]));
    let events = InputEvents::from_buffer(&events);
    let mut output = EventBuffer::new();
    let mut output = OutputEvents::from_buffer(&mut output);
    let mut process = || audio.process(&x, &mut y, &events, &mut output, None, None).unwrap();
    let counted = allocation_counter::measure(|| {
        process();
    });
    assert_eq!((counted.count_total, counted.count_current), (0, 0), "asked for memory, or freed");
}

/// What comes out in blocks of some size.
pub fn play(audio: &mut StartedPluginAudioProcessor<Host>, x: &Stereo, size: usize) -> Stereo {
    let (mut x, mut y) = (x.clone(), x.clone().map(|x| vec![f32::NAN; x.len()]));
    let ([left, right], [y_left, y_right]) = (&mut x, &mut y);
    let ins = left.chunks_mut(size).zip(right.chunks_mut(size));
    let outs = y_left.chunks_mut(size).zip(y_right.chunks_mut(size));
    for ((left, right), (y_left, y_right)) in ins.zip(outs) {
        block(audio, &mut [left, right], &mut [y_left, y_right], &[]);
    }
    y
}
