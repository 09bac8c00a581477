//! What a host finds in the file: the effect, and the models it can be given.

use crate::presets::Presets;
use crate::{Effect, ID, gains::Gains, main_thread::MainThread};
use clack_extensions::preset_discovery::factory::PresetDiscoveryFactoryWrapper;
use clack_plugin::entry::prelude::*;
use clack_plugin::plugin::features::{AUDIO_EFFECT, DISTORTION, STEREO};
use std::ffi::CStr;

/// Makes effects, and finds files for them.
pub struct Entry {
    effects: PluginFactoryWrapper<Effects>,
    presets: PresetDiscoveryFactoryWrapper<Presets>,
}

impl clack_plugin::entry::Entry for Entry {
    fn new(_path: Option<&CStr>) -> Result<Self, EntryLoadError> {
        let descriptor = PluginDescriptor::new(ID, "Unrolled")
            .with_vendor("unrolled")
            .with_version(env!("CARGO_PKG_VERSION"))
            .with_description(env!("CARGO_PKG_DESCRIPTION"))
            .with_features([AUDIO_EFFECT, DISTORTION, STEREO]);
        Ok(Entry {
            effects: PluginFactoryWrapper::new(Effects { descriptor }),
            presets: PresetDiscoveryFactoryWrapper::new(Presets::new()),
        })
    }

    fn declare_factories<'a>(&'a self, builder: &mut EntryFactories<'a>) {
        builder.register_factory(&self.effects).register_factory(&self.presets);
    }
}

struct Effects {
    descriptor: PluginDescriptor,
}

impl PluginFactoryImpl for Effects {
    fn plugin_count(&self) -> u32 {
        1
    }

    fn plugin_descriptor(&self, index: u32) -> Option<&PluginDescriptor> {
        (index == 0).then_some(&self.descriptor)
    }

    fn create_plugin<'a>(
        &'a self,
        host: HostInfo<'a>,
        plugin_id: &CStr,
    ) -> Option<PluginInstance<'a>> {
        (plugin_id.to_bytes() == ID.as_bytes()).then(|| {
            let shared = |_| Ok(Gains::default());
            PluginInstance::new::<Effect>(host, &self.descriptor, shared, MainThread::new)
        })
    }
}
