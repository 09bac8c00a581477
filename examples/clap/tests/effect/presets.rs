//! Models out of a host's browser.

use crate::host::{Rack, entry, info, play};
use crate::{data, expected, sound};
use clack_extensions::preset_discovery::metadata_receiver::MetadataReceiverImpl;
use clack_extensions::preset_discovery::prelude::*;
use clack_host::prelude::HostError;
use std::ffi::{CStr, CString};
use std::process::Command;

#[test]
fn a_file_that_is_refused_changes_nothing() {
    let amp = data("amp.nam");
    let mut rack = Rack::new(&entry());
    rack.preset(&amp).unwrap();
    let saved = rack.save();
    let sizes = "expected a model of 1 input and 1 output, got 2 and";
    let cases = [
        ("rtneural.json", sizes),
        ("proteus.json", sizes),
        ("refused.json", "expected a file of"),
        ("nowhere.nam", "nowhere.nam: "),
        ("", "formats/: expected a regular file"),
        #[cfg(unix)]
        ("/dev/zero", "/dev/zero: expected a regular file"),
    ];
    for (name, message) in cases {
        let error = rack.preset(&data(name)).unwrap_err();
        assert!(error.contains(message), "{name}: {error}");
        let told = rack.instance.access_handler(|main| main.presets.borrow().last().cloned());
        assert!(told.unwrap().unwrap_err().contains(message), "{name}: the host is told");
    }
    let location = Location::Plugin;
    rack.presets.load_from_location(&rack.instance.plugin_handle(), location, None).unwrap_err();
    assert_eq!(rack.save(), saved);
    rack.instance.access_handler(|main| {
        assert_eq!(main.presets.borrow().first(), Some(&Ok(())));
        assert_eq!(main.dirty.get(), 1, "only what was loaded is to be saved");
    });
    let mut audio = rack.start();
    let x = sound(200, 10);
    assert_eq!(play(&mut audio, &x, 64), expected(&amp, &x));
    rack.stop(audio);
}

#[derive(Default)]
struct Index {
    extensions: Vec<CString>,
    locations: Vec<CString>,
}

impl IndexerImpl for Index {
    fn declare_filetype(&mut self, file_type: FileType) -> Result<(), HostError> {
        self.extensions.extend(file_type.file_extension.map(Into::into));
        Ok(())
    }
    fn declare_location(&mut self, location: LocationInfo) -> Result<(), HostError> {
        if let Location::File { path } = location.location {
            self.locations.push(path.into());
        }
        Ok(())
    }
    fn declare_soundpack(&mut self, _soundpack: Soundpack) -> Result<(), HostError> {
        Ok(())
    }
}

#[derive(Default)]
struct Found {
    name: Option<CString>,
    effect: Option<CString>,
    error: Option<CString>,
}

impl MetadataReceiverImpl for Found {
    fn on_error(&mut self, _number: i32, message: Option<&CStr>) {
        self.error = message.map(Into::into);
    }
    fn begin_preset(
        &mut self,
        name: Option<&CStr>,
        _load_key: Option<&CStr>,
    ) -> Result<(), HostError> {
        self.name = name.map(Into::into);
        Ok(())
    }
    fn add_plugin_id(&mut self, id: UniversalPluginId) {
        self.effect = Some(id.id.into());
    }
    fn set_soundpack_id(&mut self, _id: &CStr) {}
    fn set_flags(&mut self, _flags: Flags) {}
    fn add_creator(&mut self, _creator: &CStr) {}
    fn set_description(&mut self, _description: &CStr) {}
    fn set_timestamps(&mut self, _created: Option<Timestamp>, _modified: Option<Timestamp>) {}
    fn add_feature(&mut self, _feature: &CStr) {}
    fn add_extra_info(&mut self, _key: &CStr, _value: &CStr) {}
}

#[test]
fn a_browser_finds_the_models_in_the_folder_that_is_named() {
    const FOLDER: &str = "UNROLLED_MODELS";
    let folder = data("");
    if std::env::var_os(FOLDER).is_none_or(|named| named != folder) {
        // Once more with it: to set it here would be felt by other tests.
        let own = std::env::current_exe().unwrap();
        let name = "presets::a_browser_finds_the_models_in_the_folder_that_is_named";
        let out = Command::new(own).args(["--exact", name]).env(FOLDER, &folder).output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let id = CString::new(format!("{}.models", unrolled_clap::ID)).unwrap();
    let mut provider = Provider::instantiate(Index::default(), &entry(), &id, &info()).unwrap();
    let Index { extensions, locations } = provider.indexer();
    assert_eq!(extensions, &[c"nam".into(), c"json".into(), c"safetensors".into()] as &[CString]);
    assert_eq!(locations, &[CString::new(folder.to_str().unwrap()).unwrap()]);
    let mut find = |name| {
        let path = CString::new(data(name).to_str().unwrap()).unwrap();
        let mut found = Found::default();
        provider.get_metadata(Location::File { path: &path }, &mut found);
        found
    };
    let found = find("amp.nam");
    assert_eq!((found.name, found.error), (Some(c"amp".into()), None));
    assert_eq!(found.effect.unwrap().to_str(), Ok(unrolled_clap::ID));
    // Two inputs: nothing that the effect can play.
    let found = find("rtneural.json");
    assert!(found.name.is_none() && found.error.is_some());
}
