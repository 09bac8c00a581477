//! Where a host finds models for its browser: in the folder that `UNROLLED_MODELS` names.

use crate::{ID, model};
use clack_extensions::preset_discovery::prelude::*;
use clack_plugin::prelude::PluginError;
use std::ffi::{CStr, CString};
use std::path::Path;

/// Without it no folder is searched.
const FOLDER: &str = "UNROLLED_MODELS";

/// Files that may be models.
const TYPES: [(&CStr, &CStr); 3] = [
    (c"Neural Amp Modeler", c"nam"),
    (c"RTNeural or CoreAudioML", c"json"),
    (c"safetensors", c"safetensors"),
];

pub struct Presets {
    descriptor: ProviderDescriptor,
}

impl Presets {
    pub fn new() -> Self {
        Presets { descriptor: ProviderDescriptor::new(&format!("{ID}.models"), "Models") }
    }
}

impl PresetDiscoveryFactoryImpl for Presets {
    fn provider_count(&self) -> u32 {
        1
    }

    fn provider_descriptor(&self, index: u32) -> Option<&ProviderDescriptor> {
        (index == 0).then_some(&self.descriptor)
    }

    fn create_provider<'a>(
        &'a self,
        indexer: IndexerInfo<'a>,
        provider_id: &CStr,
    ) -> Option<ProviderInstance<'a>> {
        let known = self.descriptor.id() == Some(provider_id);
        known.then(|| ProviderInstance::new(indexer, &self.descriptor, Models::declare))
    }
}

/// Tells which files are models that play.
struct Models;

impl Models {
    fn declare(mut indexer: Indexer) -> Result<Self, PluginError> {
        for (name, extension) in TYPES {
            let file_extension = Some(extension);
            indexer.declare_filetype(FileType { name, description: None, file_extension })?;
        }
        if let Some(folder) = std::env::var_os(FOLDER) {
            let folder = CString::new(folder.into_encoded_bytes())?;
            indexer.declare_location(LocationInfo {
                name: c"Models",
                flags: Flags::IS_USER_CONTENT,
                location: Location::File { path: &folder },
            })?;
        }
        Ok(Models)
    }
}

impl ProviderImpl<'_> for Models {
    fn get_metadata(
        &mut self,
        location: Location,
        receiver: &mut MetadataReceiver,
    ) -> Result<(), PluginError> {
        let Location::File { path } = location else {
            return Err(PluginError::Message("expected the path of a model"));
        };
        let path = path.to_str()?;
        model::open(path)?;
        let name = Path::new(path).file_stem().unwrap_or_default();
        let name = CString::new(name.as_encoded_bytes())?;
        receiver
            .begin_preset(Some(&name), None)?
            .add_plugin_id(UniversalPluginId::clap(&CString::new(ID)?));
        Ok(())
    }
}
