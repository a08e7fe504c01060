use super::*;
use crate::measure::{sine, sine_snr_db, tone_db};

/// A generator that is easy to write down in any language: the upper 16 bits of a linear congruence.
struct Random(u64);

impl Random {
    fn word(&mut self) -> u16 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 48) as u16
    }
}

/// Eight parts of 2,000 samples that drive the adaptation to its ends: noise of three levels, squares of two, silence, a
/// saw tooth, a staircase with noise.
fn hard_sound() -> Vec<i16> {
    let mut random = Random(1);
    (0..16_000)
        .map(|i| {
            let noise = i32::from(random.word()) - 32_768;
            let sample = match i / 2_000 {
                0 => noise,
                1 => noise >> 3,
                2 => noise >> 8,
                3 => [-20_000, 20_000][i / 20 % 2],
                4 => 0,
                5 => [-32_768, 32_767][i / 7 % 2],
                6 => (i as i32 * 37) % 65_536 - 32_768,
                _ => (i as i32 % 16 - 8) * 1_000 + (noise >> 6),
            };
            i16::try_from(sample).expect("16 bits")
        })
        .collect()
}

/// FNV-1a.
fn digest(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn digest_of_sound(sound: &[i16]) -> u64 {
    digest(sound.iter().flat_map(|sample| sample.to_le_bytes()))
}

fn decode(codes: &[u8]) -> Vec<i16> {
    let mut sound = vec![0; codes.len() * 2];
    Decoder::default().decode(codes, &mut sound);
    sound
}

fn encode(sound: &[i16]) -> Vec<u8> {
    let mut codes = vec![0; sound.len() / 2];
    Encoder::default().encode(sound, &mut codes);
    codes
}

// The digests and bytes below are what others made of the same input: the codes are those of spandsp 0.0.6, the sound that of
// FFmpeg 5.1 (spandsp's decoder lets samples wrap around where the Recommendation limits them).

#[test]
fn codes_are_those_of_an_independent_encoder() {
    let codes = encode(&hard_sound());
    assert_eq!(codes[..8], [0x32, 0x84, 0x20, 0x86, 0x26, 0x84, 0x2e, 0x20]);
    assert_eq!(digest(codes), 0xf0e0_6e00_671f_14ce);
}

#[test]
fn sound_is_that_of_an_independent_decoder() {
    let sound = decode(&encode(&hard_sound()));
    assert_eq!(
        sound[3_000..3_008],
        [-1_122, -3_792, -2_728, 315, 1_183, -2_103, -3_492, -183]
    );
    assert_eq!(digest_of_sound(&sound), 0x8e27_7af1_1f1a_bdac);
}

#[test]
fn any_bytes_are_decoded_as_an_independent_decoder_does() {
    let mut random = Random(7);
    let codes: Vec<u8> = (0..8_000).map(|_| (random.word() >> 8) as u8).collect();
    let sound = decode(&codes);
    assert_eq!(digest_of_sound(&sound), 0xac55_606a_576e_282f);
}

#[test]
fn tones_of_both_bands_come_through() {
    for (hz, snr_min) in [
        (300.0, 35.0),
        (1_000.0, 30.0),
        (3_000.0, 30.0),
        (6_000.0, 12.0),
    ] {
        let sound = sine(hz, 16_000, 0.3, 16_000);
        let again = decode(&encode(&sound));
        // After the adaptation.
        let snr = sine_snr_db(&again[1_000..], hz, 16_000);
        assert!(snr > snr_min, "{hz} Hz: {snr} dB");
        let level = tone_db(&again[1_000..], hz, 16_000) - tone_db(&sound, hz, 16_000);
        assert!(level.abs() < 1.0, "{hz} Hz: {level} dB");
    }
}

#[test]
fn packets_of_any_length_are_one_stream() {
    let sound = hard_sound();
    let whole = encode(&sound);
    let mut encoder = Encoder::default();
    let mut parts = vec![0; whole.len()];
    for (part, codes) in sound.chunks(320).zip(parts.chunks_mut(160)) {
        encoder.encode(part, codes);
    }
    assert_eq!(parts, whole);
}
