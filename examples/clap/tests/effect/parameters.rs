//! Gains: from the sample on that a change names, and whichever way it comes.

use crate::host::{Rack, block, change, entry};
use crate::{data, expected, sound, state};
use clack_extensions::params::ParamInfoBuffer;
use clack_host::prelude::*;

const INPUT: u32 = 0;
const OUTPUT: u32 = 1;

#[test]
fn parameters_are_two_gains() {
    let mut rack = Rack::new(&entry());
    let (params, handle) = (rack.params, rack.instance.plugin_handle());
    assert_eq!(params.count(&handle), 2);
    let mut buffer = ParamInfoBuffer::new();
    assert!(params.get_info(&handle, 2, &mut buffer).is_none());
    for (index, name) in [(INPUT, "Input gain"), (OUTPUT, "Output gain")] {
        let info = params.get_info(&handle, index, &mut buffer).unwrap();
        assert_eq!((info.id.get(), info.name), (index, name.as_bytes()));
        assert_eq!((info.min_value, info.default_value, info.max_value), (-24.0, 0.0, 24.0));
        let id = info.id;
        let mut text = [0; 32];
        let text = params.value_to_text(&handle, id, -3.25, &mut text).unwrap();
        assert_eq!(&*text, b"-3.2 dB");
        let value = |text| params.text_to_value(&handle, id, text);
        assert_eq!(value(c"-3.5 dB"), Some(-3.5));
        assert_eq!(value(c" 6dB"), Some(6.0));
        for refused in [c"", c"dB", c"loud", c"25", c"NaN"] {
            assert_eq!(value(refused), None, "{refused:?}");
        }
    }
    assert_eq!(params.get_value(&handle, ClapId::new(2)), None);
}

#[test]
fn a_gain_changes_the_level_from_its_sample_on() {
    let model = data("amp.nam");
    let mut rack = Rack::new(&entry());
    rack.load(&state(Some(&model), [0.0, 0.0])).unwrap();
    let mut audio = rack.start();
    let mut x = sound(128, 6);
    let mut y = x.clone();
    let factor = |db: f64| 10_f64.powf(db / 20.0) as f32;
    // What the model gives of what each sample was multiplied by.
    let louder = |gains: fn(usize) -> [f64; 2]| {
        let mut into = x.clone();
        for channel in &mut into {
            channel.iter_mut().enumerate().for_each(|(n, x)| *x *= factor(gains(n)[0]));
        }
        let mut y = expected(&model, &into);
        for channel in &mut y {
            channel.iter_mut().enumerate().for_each(|(n, y)| *y *= factor(gains(n)[1]));
        }
        y
    };
    let after = louder(|n| match n {
        0..10 => [0.0, 0.0],
        10..100 => [6.0, 0.0],
        _ => [6.0, -12.0],
    });
    let still = louder(|_| [6.0, -12.0]);
    // The last two are of no parameter, and no number.
    let events = [
        change(10, INPUT, 6.0),
        change(100, OUTPUT, -12.0),
        change(110, 7, 1.0),
        change(111, INPUT, f64::NAN),
    ];
    let mut run = |y: &mut [Vec<f32>; 2], events: &[_]| {
        let ([left, right], [y_left, y_right]) = (&mut x, y);
        block(&mut audio, &mut [left, right], &mut [y_left, y_right], events);
        audio.reset();
    };
    run(&mut y, &events);
    assert_eq!(y, after);
    run(&mut y, &[]);
    assert_eq!(y, still);
    // Times that no block has; the nearer end of the range.
    run(&mut y, &[change(500, INPUT, 0.0), change(3, OUTPUT, 99.0)]);
    assert_eq!(y, still);
    assert_eq!((rack.value(INPUT), rack.value(OUTPUT)), (0.0, 24.0));
    rack.stop(audio);
}

#[test]
fn gains_are_set_while_nothing_plays_too() {
    let mut rack = Rack::new(&entry());
    let params = rack.params;
    let mut none = EventBuffer::new();
    let events = [change(0, INPUT, -6.0)];
    let mut handle = rack.instance.inactive_plugin_handle().unwrap();
    let output = &mut OutputEvents::from_buffer(&mut none);
    params.flush(&mut handle, &InputEvents::from_buffer(&events), output);
    assert_eq!(rack.value(INPUT), -6.0);
    let mut audio = rack.start();
    let events = [change(0, OUTPUT, 3.0)];
    let output = &mut OutputEvents::from_buffer(&mut none);
    params.flush_active(&mut audio.plugin_handle(), &InputEvents::from_buffer(&events), output);
    assert_eq!(rack.value(OUTPUT), 3.0);
    rack.stop(audio);
}
