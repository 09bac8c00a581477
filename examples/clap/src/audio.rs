//! What runs on the audio thread: it asks for no memory, frees none, and waits for nothing.

use crate::gains::{Gain, Gains};
use crate::main_thread::MainThread;
use crate::model::CHANNELS;
use clack_extensions::params::PluginAudioProcessorParams;
use clack_plugin::prelude::*;
use std::cell::RefCell;
use std::sync::Arc;
use unrolled::sequential::{Player, Stream};

pub struct Processor<'a> {
    host: HostAudioProcessorHandle<'a>,
    gains: &'a Gains,
    player: Player<f32>,
    /// The address of the model that plays, by which another one is known.
    playing: usize,
}

fn address(stream: &Stream<f32>) -> usize {
    Arc::as_ptr(stream.model()).addr()
}

impl<'a> PluginAudioProcessor<'a, Gains, MainThread<'a>> for Processor<'a> {
    fn activate(
        host: HostAudioProcessorHandle<'a>,
        main_thread: &MainThread<'a>,
        gains: &'a Gains,
        _configuration: PluginAudioConfiguration,
    ) -> Result<Self, PluginError> {
        let mut player = main_thread.lend_player()?;
        let stream = player.stream();
        stream.reset();
        let playing = address(stream);
        main_thread.free();
        Ok(Processor { host, gains, player, playing })
    }

    fn deactivate(self, main_thread: &MainThread<'a>) {
        main_thread.take_player(self.player);
    }

    fn reset(&mut self) {
        self.player.stream().reset();
    }

    fn process(
        &mut self,
        _process: Process,
        mut audio: Audio,
        events: Events,
    ) -> Result<ProcessStatus, PluginError> {
        let [left, right] = channels(&mut audio)
            .ok_or(PluginError::Message("expected two channels of 32-bit samples, in and out"))?;
        let stream = self.player.stream();
        let playing = address(stream);
        if playing != self.playing {
            // The main thread frees the one before.
            self.playing = playing;
            self.host.request_callback();
        }
        let frames = left.len();
        let mut first = 0;
        for batch in events.input.batch() {
            self.gains.take(batch.events());
            // Whatever times a host gives, each sample is played once.
            let end = batch.next_batch_first_sample().unwrap_or(frames).clamp(first, frames);
            play(stream, [&mut left[first..end], &mut right[first..end]], self.gains);
            first = end;
        }
        Ok(ProcessStatus::Continue)
    }
}

impl PluginAudioProcessorParams for Processor<'_> {
    fn flush(&mut self, input: &InputEvents, _output: &mut OutputEvents) {
        self.gains.take(input);
    }
}

/// The outputs of both channels, in which the inputs are.
fn channels<'a>(audio: &'a mut Audio<'_>) -> Option<[&'a mut [f32]; CHANNELS]> {
    let mut port = audio.port_pair(0)?;
    let mut pairs = port.channels().ok()?.into_f32()?;
    let mut channel = |n| match pairs.channel_pair(n)? {
        ChannelPair::InputOutput(input, output) => {
            output.copy_from_slice(input);
            Some(output)
        }
        ChannelPair::InPlace(both) => Some(both),
        ChannelPair::InputOnly(_) | ChannelPair::OutputOnly(_) => None,
    };
    Some([channel(0)?, channel(1)?])
}

/// Some samples of each channel through both gains and what is between them.
fn play(stream: &mut Stream<f32>, channels: [&mut [f32]; CHANNELS], gains: &Gains) {
    let (before, after) = (gains.factor(Gain::Input), gains.factor(Gain::Output));
    let steps = channels[0].len();
    let channels = RefCell::new(channels);
    stream.process_with(
        steps,
        |steps, to| {
            for (n, channel) in channels.borrow().iter().enumerate() {
                let to = to.iter_mut().skip(n).step_by(CHANNELS);
                to.zip(&channel[steps.clone()]).for_each(|(to, &x)| *to = before * x);
            }
        },
        |steps, from| {
            for (n, channel) in channels.borrow_mut().iter_mut().enumerate() {
                let from = from.iter().skip(n).step_by(CHANNELS);
                let to = channel[steps.clone()].iter_mut();
                to.zip(from).for_each(|(to, &y)| *to = after * y);
            }
        },
    );
}
