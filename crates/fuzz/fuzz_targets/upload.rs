//! Files that people upload: whatever they hold, there is sound within its limit or an error.
#![no_main]

use audio::{SampleRate, upload};
use libfuzzer_sys::fuzz_target;

const SECONDS_MAX: u32 = 20;

fuzz_target!(|data: &[u8]| {
    let rate = SampleRate::Hz8000;
    if let Ok(sound) = upload::decode(data.to_vec(), rate, SECONDS_MAX) {
        assert!(!sound.is_empty() && sound.len() <= rate.samples(SECONDS_MAX * 1_000));
    }
});
