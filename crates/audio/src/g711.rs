//! G.711: sound at 8,000 samples a second in eight bits each, by µ-law (America, Japan) or A-law (elsewhere).
//!
//! Decoding is one look into a table of 256 samples, made at compile time from the Recommendation's definition. Encoding counts leading zeros to
//! find the segment. Samples on a decision value go the way of the ITU's software tool library (G.191): the magnitude of a
//! negative sample is its one's complement.

/// One of the two laws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Law {
    /// µ-law, payload type 0 (PCMU).
    Mu,
    /// A-law, payload type 8 (PCMA).
    A,
}

/// The bias of µ-law, in its 14-bit scale (G.711 table 2a).
const MU_BIAS: u16 = 33;
/// The largest biased magnitude of µ-law, beyond which it clips.
const MU_MAGNITUDE_MAX: u16 = 0x1fff;
/// The even bits, which A-law inverts on the line.
const A_INVERTED: u8 = 0x55;

static MU_SAMPLES: [i16; 256] = samples(Law::Mu);
static A_SAMPLES: [i16; 256] = samples(Law::A);

impl Law {
    /// The code of silence, for filling up a packet.
    #[must_use]
    pub fn silence(self) -> u8 {
        self.encode_sample(0)
    }

    /// One sample of 16 bits as a code.
    #[must_use]
    pub fn encode_sample(self, sample: i16) -> u8 {
        let magnitude = (sample ^ (sample >> 15)).cast_unsigned();
        let positive = if sample >= 0 { 0x80 } else { 0 };
        match self {
            Self::Mu => {
                let biased = ((magnitude >> 2) + MU_BIAS).min(MU_MAGNITUDE_MAX);
                // 33 to 63 lie in segment 0, 64 to 127 in segment 1 and so on.
                let segment = 10 - biased.leading_zeros() as u16;
                let step = biased >> (segment + 1) & 0x0f;
                positive | (0x7f - (segment << 4 | step)) as u8
            }
            Self::A => {
                let short = magnitude >> 4;
                let code = match short.checked_ilog2() {
                    None | Some(..5) => short,
                    Some(power) => {
                        let segment = power as u16 - 3;
                        segment << 4 | (short >> (segment - 1) & 0x0f)
                    }
                };
                (positive | code as u8) ^ A_INVERTED
            }
        }
    }

    /// One code as a sample of 16 bits.
    #[must_use]
    pub fn decode_sample(self, code: u8) -> i16 {
        self.samples()[usize::from(code)]
    }

    /// Encodes sample by sample, as many as the shorter of both holds.
    pub fn encode(self, sound: &[i16], codes: &mut [u8]) {
        for (code, sample) in codes.iter_mut().zip(sound) {
            *code = self.encode_sample(*sample);
        }
    }

    /// Decodes code by code, as many as the shorter of both holds.
    pub fn decode(self, codes: &[u8], sound: &mut [i16]) {
        let samples = self.samples();
        for (sample, code) in sound.iter_mut().zip(codes) {
            *sample = samples[usize::from(*code)];
        }
    }

    fn samples(self) -> &'static [i16; 256] {
        match self {
            Self::Mu => &MU_SAMPLES,
            Self::A => &A_SAMPLES,
        }
    }
}

/// The output values of G.711 tables 1a to 2b, widened to 16 bits.
const fn samples(law: Law) -> [i16; 256] {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        table[code] = match law {
            Law::Mu => mu_sample(code as u8),
            Law::A => a_sample(code as u8),
        };
        code += 1;
    }
    table
}

const fn mu_sample(code: u8) -> i16 {
    let code = !code;
    let (segment, step) = (code >> 4 & 7, (code & 0x0f) as i16);
    let magnitude = ((2 * step + 33) << segment) - 33;
    // From 14 bits to 16.
    let sample = magnitude << 2;
    if code & 0x80 == 0 { sample } else { -sample }
}

const fn a_sample(code: u8) -> i16 {
    let code = code ^ A_INVERTED;
    let (segment, step) = (code >> 4 & 7, (code & 0x0f) as i16);
    let magnitude = match segment {
        0 => 2 * step + 1,
        _ => (2 * step + 33) << (segment - 1),
    };
    // From 13 bits to 16.
    let sample = magnitude << 3;
    if code & 0x80 == 0 { -sample } else { sample }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{sine, snr_db};

    /// Decision values of the Recommendation's tables, written down by steps: 16 of each size (the first of µ-law is
    /// half as long), eight sizes that double; the first two segments of A-law are of one size.
    fn decisions(law: Law) -> Vec<i32> {
        let mut values = vec![0];
        let mut at = 0;
        for segment in 0..8 {
            let step = match law {
                Law::Mu => 2 << segment,
                Law::A => 2 << i32::max(segment - 1, 0),
            };
            for n in 0..16 {
                at += if law == Law::Mu && segment == 0 && n == 0 {
                    1
                } else {
                    step
                };
                values.push(at);
            }
        }
        values
    }

    #[test]
    fn the_decision_values_end_where_the_tables_end() {
        assert_eq!(decisions(Law::Mu).last(), Some(&8_159));
        assert_eq!(decisions(Law::A).last(), Some(&4_096));
    }

    #[test]
    fn every_sample_gets_the_code_of_its_interval() {
        for (law, scale) in [(Law::Mu, 4), (Law::A, 8)] {
            let decisions = decisions(law);
            for sample in i16::MIN..=i16::MAX {
                let magnitude = if sample < 0 { !sample } else { sample };
                let number = decisions
                    .iter()
                    .rposition(|value| i32::from(magnitude) >= value * scale)
                    .expect("0 is the first")
                    .min(127) as u8;
                let sign = if sample >= 0 { 0x80 } else { 0 };
                let code = match law {
                    Law::Mu => sign | (0x7f - number),
                    Law::A => (sign | number) ^ 0x55,
                };
                assert_eq!(law.encode_sample(sample), code, "{law:?} {sample}");
            }
        }
    }

    #[test]
    fn every_code_stands_for_the_middle_of_its_interval() {
        for (law, scale) in [(Law::Mu, 4), (Law::A, 8)] {
            let decisions = decisions(law);
            for number in 0..128_u8 {
                let (from, to) = (
                    decisions[usize::from(number)],
                    decisions[usize::from(number) + 1],
                );
                let middle = match (law, number) {
                    (Law::Mu, 0) => 0,
                    _ => (from + to) * scale / 2,
                };
                let code = match law {
                    Law::Mu => 0xff - number,
                    Law::A => (0x80 | number) ^ 0x55,
                };
                assert_eq!(
                    i32::from(law.decode_sample(code)),
                    middle,
                    "{law:?} {number}"
                );
                assert_eq!(
                    i32::from(law.decode_sample(code ^ 0x80)),
                    -middle,
                    "{law:?} {number}"
                );
            }
        }
    }

    #[test]
    fn codes_come_back_from_their_samples() {
        for law in [Law::Mu, Law::A] {
            for code in 0..=255 {
                let again = law.encode_sample(law.decode_sample(code));
                // µ-law has two zeros.
                let expected = if law == Law::Mu && code == 0x7f {
                    0xff
                } else {
                    code
                };
                assert_eq!(again, expected, "{law:?}");
            }
        }
    }

    #[test]
    fn a_tone_keeps_37_db_over_the_noise() {
        for law in [Law::Mu, Law::A] {
            for level in [0.02, 0.1, 0.5] {
                let sound = sine(1_004.0, 8_000, level, 8_000);
                let mut codes = vec![0; sound.len()];
                let mut again = vec![0; sound.len()];
                law.encode(&sound, &mut codes);
                law.decode(&codes, &mut again);
                let snr = snr_db(&sound, &again);
                assert!(snr > 36.0, "{law:?} at {level}: {snr} dB");
            }
        }
        assert_eq!((Law::Mu.silence(), Law::A.silence()), (0xff, 0xd5));
    }
}
