//! The effect in a host: bit for bit what a stream of the model gives, whatever happens beside it. No block asks for
//! memory or frees any, which the host sees to.

mod file;
mod host;
mod parameters;
mod presets;
mod states;

use host::{Rack, Stereo, block, entry, play};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use unrolled::rng::Rng;
use unrolled::{Level, Sequential, formats};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/formats").join(name)
}

/// An RTNeural file of a dense layer that multiplies by some factor.
fn factor(name: &str, factor: f32) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let layer = serde_json::json!({
        "type": "dense", "activation": "", "shape": [null, null, 1], "weights": [[[factor]], [0.0]],
    });
    let file = serde_json::json!({"in_shape": [null, null, 1], "layers": [layer]});
    std::fs::write(&path, file.to_string()).unwrap();
    path
}

fn state(model: Option<&Path>, gains: [f64; 2]) -> Vec<u8> {
    let [input, output] = gains;
    let state = serde_json::json!({
        "version": 1, "model": model, "input_gain_db": input, "output_gain_db": output,
    });
    state.to_string().into_bytes()
}

fn sound(len: usize, seed: u64) -> Stereo {
    let mut rng = Rng::new(seed);
    [0, 1].map(|_| (0..len).map(|_| rng.uniform() as f32 * 2.0 - 1.0).collect())
}

fn times(factor: f32, x: &Stereo) -> Stereo {
    x.each_ref().map(|x| x.iter().map(|x| factor * x).collect())
}

/// All of it at once, from the crate itself.
fn expected(model: &Path, x: &Stereo) -> Stereo {
    let model = formats::load_file::<f32>(model, Level::best()).unwrap();
    let mut stream = Sequential::stream(&Arc::new(model), 2).unwrap();
    let x: Vec<f32> = x[0].iter().zip(&x[1]).flat_map(|(&left, &right)| [left, right]).collect();
    let mut y = vec![0.0; x.len()];
    stream.process(&x, &mut y).unwrap();
    [0, 1].map(|n| y.iter().skip(n).step_by(2).copied().collect())
}

#[test]
fn without_a_model_sound_passes_through() {
    let mut rack = Rack::new(&entry());
    let mut audio = rack.start();
    let x = sound(1000, 1);
    assert_eq!(play(&mut audio, &x, 64), x);
    rack.stop(audio);
}

#[test]
fn a_model_plays_bit_for_bit_whatever_blocks_come() {
    let x = sound(2000, 2);
    let y = expected(&data("amp.nam"), &x);
    assert_ne!(y, x);
    assert_ne!(y[0], y[1]);
    let mut rack = Rack::new(&entry());
    rack.load(&state(Some(&data("amp.nam")), [0.0, 0.0])).unwrap();
    for size in [1, 7, 32, 64, 333, 480, 2000] {
        // Each time from the start of the model.
        let mut audio = rack.start();
        assert_eq!(play(&mut audio, &x, size), y, "blocks of {size}");
        audio.reset();
        assert_eq!(play(&mut audio, &x, size), y, "blocks of {size}, after a reset");
        rack.stop(audio);
    }
}

#[test]
fn a_block_may_come_out_where_it_went_in() {
    use clack_host::prelude::*;
    use clap_sys::audio_buffer::clap_audio_buffer;

    let x = sound(500, 3);
    let mut rack = Rack::new(&entry());
    rack.load(&state(Some(&data("amp.nam")), [0.0, 0.0])).unwrap();
    let mut audio = rack.start();
    let mut both = x.clone();
    let mut pointers = both.each_mut().map(|channel| channel.as_mut_ptr());
    let buffer = clap_audio_buffer {
        data32: pointers.as_mut_ptr(),
        data64: std::ptr::null_mut(),
        channel_count: 2,
        latency: 0,
        constant_mask: 0,
    };
    let (ins, mut outs) = ([buffer], [buffer]);
    // SAFETY: the pointers are those of two buffers of 500 samples, which nothing else uses until the block is done.
    #[allow(unsafe_code)]
    let (ins, mut outs) = unsafe {
        let ins = InputAudioBuffers::from_raw_buffers(&ins, 500);
        (ins, OutputAudioBuffers::from_raw_buffers(&mut outs, 500))
    };
    let mut events = EventBuffer::new();
    let mut events = OutputEvents::from_buffer(&mut events);
    audio.process(&ins, &mut outs, &InputEvents::empty(), &mut events, None, None).unwrap();
    assert_eq!(both, expected(&data("amp.nam"), &x));
    rack.stop(audio);
}

#[test]
fn a_block_of_one_channel_is_an_error() {
    use clack_host::prelude::*;

    let mut rack = Rack::new(&entry());
    let mut audio = rack.start();
    let (mut x, mut y) = ([0.5_f32; 8], [0.0_f32; 8]);
    let (mut ins, mut outs) = (AudioPorts::with_capacity(1, 1), AudioPorts::with_capacity(1, 1));
    let channels = AudioPortBufferType::f32_input_only([InputChannel::variable(&mut x)]);
    let ins = ins.with_input_buffers([AudioPortBuffer { latency: 0, channels }]);
    let channels = AudioPortBufferType::f32_output_only([&mut y[..]]);
    let mut outs = outs.with_output_buffers([AudioPortBuffer { latency: 0, channels }]);
    let mut events = EventBuffer::new();
    let mut events = OutputEvents::from_buffer(&mut events);
    audio.process(&ins, &mut outs, &InputEvents::empty(), &mut events, None, None).unwrap_err();
    assert!(rack.logged().iter().any(|line| line.contains("expected two channels")));
    rack.stop(audio);
}

#[test]
fn a_model_follows_another_between_two_blocks() {
    let (amp, half) = (data("amp.nam"), factor("half.json", 0.5));
    let mut rack = Rack::new(&entry());
    rack.load(&state(Some(&amp), [0.0, 0.0])).unwrap();
    let mut audio = rack.start();
    let x = sound(300, 4);
    assert_eq!(play(&mut audio, &x, 100), expected(&amp, &x));
    for (n, model) in [&half, &amp, &half].into_iter().enumerate() {
        rack.preset(model).unwrap();
        let callbacks = rack.callbacks();
        assert_eq!(play(&mut audio, &x, 100), expected(model, &x), "change {n}");
        assert_eq!(
            rack.callbacks(),
            callbacks + 1,
            "the audio thread says once that it left a model"
        );
        let counted = allocation_counter::measure(|| rack.instance.call_on_main_thread_callback());
        assert!(counted.count_current < 0, "the model that was left is freed on the main thread");
    }
    // Of two that come before the next block, the later one plays; and then none.
    rack.preset(&amp).unwrap();
    rack.preset(&half).unwrap();
    assert_eq!(play(&mut audio, &x, 100), expected(&half, &x));
    rack.load(&state(None, [0.0, 0.0])).unwrap();
    assert_eq!(play(&mut audio, &x, 100), x);
    rack.stop(audio);
    // One that comes while the effect sleeps.
    rack.preset(&amp).unwrap();
    let mut audio = rack.start();
    assert_eq!(play(&mut audio, &x, 100), expected(&amp, &x));
    rack.stop(audio);
}

#[test]
fn models_follow_each_other_while_another_thread_plays() {
    use std::sync::atomic::{AtomicBool, Ordering};

    const FACTORS: [f32; 2] = [0.5, 0.25];
    let models =
        [factor("thread_half.json", FACTORS[0]), factor("thread_quarter.json", FACTORS[1])];
    let mut rack = Rack::new(&entry());
    rack.preset(&models[0]).unwrap();
    let mut audio = rack.start();
    let done = &AtomicBool::new(false);
    let (audio, changes) = std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            let mut x = sound(64, 5);
            let mut y = x.clone();
            let (mut last, mut changes) = (0, 0);
            while !done.load(Ordering::Acquire) || changes == 0 {
                let ([left, right], [y_left, y_right]) = (&mut x, &mut y);
                block(&mut audio, &mut [left, right], &mut [y_left, y_right], &[]);
                let is = |factor: f32| {
                    let all = x.iter().flatten().zip(y.iter().flatten());
                    all.into_iter().all(|(x, y)| factor * x == *y)
                };
                let now = FACTORS.into_iter().position(is).expect("a block of one model");
                changes += u32::from(now != last);
                last = now;
            }
            (audio, changes)
        });
        for n in 0..200 {
            rack.preset(&models[n % 2]).unwrap();
            rack.instance.call_on_main_thread_callback();
            std::thread::yield_now();
        }
        // The player is at the first model or has it to come: this one it must change to.
        rack.preset(&models[1]).unwrap();
        while !thread.is_finished() {
            rack.instance.call_on_main_thread_callback();
            done.store(true, Ordering::Release);
            std::thread::yield_now();
        }
        thread.join().unwrap()
    });
    println!("{changes} changes were heard of 201");
    assert!(changes > 0);
    rack.stop(audio);
}
