//! A tone of 1,000 Hz in every format that is read, made by FFmpeg 5.1: the same tone is heard.

use audio::{Error, SampleRate, upload};
use std::f64::consts::TAU;

const FILES: [&str; 7] = [
    "tone.mp3",
    "tone.m4a",
    "tone.flac",
    "vorbis.ogg",
    "opus.ogg",
    "tone.aiff",
    "tone.wav",
];

fn file(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/uploads/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).expect("it is committed")
}

/// How much of the sound's power is in a sine of `hz`.
fn share_of(sound: &[i16], hz: f64, rate: u32) -> f64 {
    let (mut re, mut im, mut all) = (0.0, 0.0, 0.0);
    for (n, sample) in sound.iter().enumerate() {
        let (sin, cos) = (TAU * hz * n as f64 / f64::from(rate)).sin_cos();
        let sample = f64::from(*sample);
        re += sample * cos;
        im += sample * sin;
        all += sample * sample;
    }
    2.0 * (re * re + im * im) / (all * sound.len() as f64)
}

#[test]
fn every_format_holds_the_same_tone() {
    for name in FILES {
        for rate in SampleRate::ALL {
            let sound = upload::decode(file(name), rate, 10).expect(name);
            let ms = sound.len() as u32 / (rate.hz() / 1_000);
            // Some formats fill up their last block.
            assert!((495..=600).contains(&ms), "{name}: {ms} ms");
            let middle = &sound[rate.samples(100)..rate.samples(400)];
            let share = share_of(middle, 1_000.0, rate.hz());
            assert!(share > 0.98, "{name} at {rate:?}: {share}");
            let loudest = middle.iter().map(|sample| sample.unsigned_abs()).max();
            // FFmpeg's sine is at an eighth of full scale, and 3 dB below that in each of two channels.
            assert!(
                loudest.is_some_and(|it| (2_600..5_200).contains(&it)),
                "{name}: {loudest:?}"
            );
        }
    }
}

#[test]
fn a_file_that_is_too_long_is_refused() {
    for name in FILES {
        let result = upload::decode(file(name), SampleRate::Hz8000, 0);
        assert_eq!(result, Err(Error::Long { seconds_max: 0 }), "{name}");
    }
}

#[test]
fn what_is_cut_off_is_read_as_far_as_it_goes() {
    for name in ["tone.mp3", "tone.flac", "tone.wav"] {
        let mut bytes = file(name);
        bytes.truncate(bytes.len() * 3 / 4);
        let sound = upload::decode(bytes, SampleRate::Hz8000, 10).expect(name);
        assert!(
            (1_200..4_000).contains(&sound.len()),
            "{name}: {}",
            sound.len()
        );
    }
}

#[test]
fn what_is_no_sound_is_refused() {
    let decode = |bytes: &[u8]| upload::decode(bytes.to_vec(), SampleRate::Hz8000, 10);
    assert_eq!(decode(b""), Err(Error::UnknownFile));
    assert_eq!(decode(&[0; 10_000]), Err(Error::UnknownFile));
    assert_eq!(
        decode(b"#!/bin/sh\necho not a sound\n"),
        Err(Error::UnknownFile)
    );
}
