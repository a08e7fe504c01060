//! G.722 at 64 kbit/s: sound at 16,000 samples a second, in two bands of ADPCM.
//!
//! A filter of 24 taps divides the sound in two bands of 8,000 samples a second. The lower one takes six bits of
//! each byte and the upper one two. Both have an adaptive quantizer and an adaptive predictor with two poles and six zeros, so that
//! encoder and decoder carry the same state from sample to sample.
//!
//! The names of steps and tables are those of the Recommendation's section 6. Modes 2 and 3, which take the lowest bits for data, are
//! left out: nothing on IP networks uses them.

mod tables;

use tables::{IHN, IHP, ILB, ILN, ILP, Q6, QM2, QM4, QM6, QMF, RH2, RL42, WH, WL};

/// Bits of a decoded band's sample (LIMIT of the Recommendation).
const BAND_MIN: i32 = -16_384;
const BAND_MAX: i32 = 16_383;
/// The largest logarithm of the scale factor, lower and upper band (LOGSCL, LOGSCH).
const NBL_MAX: i32 = 18_432;
const NBH_MAX: i32 = 22_528;

/// Brings a value into 16 bits.
fn saturate(value: i32) -> i32 {
    value.clamp(-32_768, 32_767)
}

/// What one band carries from sample to sample.
#[derive(Debug, Clone)]
struct Band {
    /// The prediction of the next sample: its whole, and what the zeros add to it.
    s: i32,
    sz: i32,
    /// Two reconstructed samples, and two partly reconstructed ones.
    r: [i32; 2],
    p: [i32; 2],
    /// Coefficients of the poles.
    a: [i32; 2],
    /// Coefficients of the zeros, and the differences they weigh.
    b: [i32; 6],
    d: [i32; 6],
    /// The scale factor's logarithm, and the factor.
    nb: i32,
    det: i32,
}

impl Band {
    fn new(det: i32) -> Self {
        Self {
            s: 0,
            sz: 0,
            r: [0; 2],
            p: [0; 2],
            a: [0; 2],
            b: [0; 6],
            d: [0; 6],
            nb: 0,
            det,
        }
    }

    /// LOGSCL and LOGSCH: the logarithm of the scale moves by a weight; SCALEL and SCALEH: the scale that goes with it.
    fn rescale(&mut self, weight: i32, nb_max: i32, shift: i32) {
        self.nb = (((self.nb * 127) >> 7) + weight).clamp(0, nb_max);
        let factor = ILB[((self.nb >> 6) & 31) as usize];
        let down = shift - (self.nb >> 11);
        let scaled = match down {
            ..0 => factor << -down,
            _ => factor >> down,
        };
        self.det = scaled << 2;
    }

    /// Block 4: adapts the predictor by the quantized difference `d`, and predicts the next sample.
    fn adapt(&mut self, d: i32) {
        let r = saturate(self.s + d);
        let p = saturate(self.sz + d);
        let is_same = |a: i32, b: i32| (a < 0) == (b < 0);
        // UPPOL2.
        let grown = saturate(self.a[0] << 2);
        let grown = match is_same(p, self.p[0]) {
            true => (-grown).min(32_767),
            false => grown,
        };
        let sign = if is_same(p, self.p[1]) { 128 } else { -128 };
        let a2 = (grown >> 7) + sign + ((self.a[1] * 32_512) >> 15);
        let a2 = a2.clamp(-12_288, 12_288);
        // UPPOL1.
        let sign = if is_same(p, self.p[0]) { 192 } else { -192 };
        let limit = saturate(15_360 - a2);
        let a1 = saturate(sign + ((self.a[0] * 32_640) >> 15)).clamp(-limit, limit);
        // UPZERO.
        let step = if d == 0 { 0 } else { 128 };
        for (b, before) in self.b.iter_mut().zip(self.d) {
            let step = if is_same(before, d) { step } else { -step };
            *b = saturate(step + ((*b * 32_640) >> 15));
        }
        // DELAYA.
        self.d.copy_within(0..5, 1);
        self.d[0] = d;
        self.r = [r, self.r[0]];
        self.p = [p, self.p[0]];
        self.a = [a1, a2];
        // FILTEP, FILTEZ, PREDIC.
        let pole = |a: i32, r: i32| (a * saturate(r + r)) >> 15;
        let sp = saturate(pole(a1, self.r[0]) + pole(a2, self.r[1]));
        let zeros = self.b.iter().zip(self.d);
        self.sz = saturate(zeros.map(|(b, d)| (b * saturate(d + d)) >> 15).sum());
        self.s = saturate(sp + self.sz);
    }

    /// What the lower band does with its code, in encoder and decoder alike: only the four upper bits count.
    fn adapt_lower(&mut self, code: i32) {
        let coarse = (code >> 2) as usize;
        let d = (self.det * QM4[coarse]) >> 15;
        self.rescale(WL[RL42[coarse]], NBL_MAX, 8);
        self.adapt(d);
    }

    /// The same of the upper band, whose code has two bits.
    fn adapt_upper(&mut self, code: i32) -> i32 {
        let d = (self.det * QM2[code as usize]) >> 15;
        self.rescale(WH[RH2[code as usize]], NBH_MAX, 10);
        d
    }

    /// QUANTL: the code of six bits for a sample of the lower band.
    fn quantize_lower(&self, sample: i32) -> i32 {
        let e = saturate(sample - self.s);
        let magnitude = if e >= 0 { e } else { !e };
        let level = Q6[1..30]
            .iter()
            .position(|q| magnitude < (q * self.det) >> 12)
            .map_or(30, |at| at + 1);
        if e < 0 { ILN[level] } else { ILP[level] }
    }

    /// QUANTH: the code of two bits for a sample of the upper band.
    fn quantize_upper(&self, sample: i32) -> i32 {
        let e = saturate(sample - self.s);
        let magnitude = if e >= 0 { e } else { !e };
        let level = if magnitude >= (564 * self.det) >> 12 {
            2
        } else {
            1
        };
        if e < 0 { IHN[level] } else { IHP[level] }
    }
}

/// The last samples before the band filter, in pairs.
type Delay = [i32; 24];

/// Moves a pair of samples into the filter's memory.
fn shift_in(delay: &mut Delay, first: i32, second: i32) {
    delay.copy_within(2.., 0);
    delay[22] = first;
    delay[23] = second;
}

/// The sums over the even and the odd places.
fn sums(delay: &Delay) -> (i32, i32) {
    let (mut even, mut odd) = (0, 0);
    for (n, pair) in delay.as_chunks::<2>().0.iter().enumerate() {
        even += pair[0] * QMF[n];
        odd += pair[1] * QMF[11 - n];
    }
    (even, odd)
}

/// Encodes a stream of sound at 16,000 samples a second.
#[derive(Debug, Clone)]
pub struct Encoder {
    lower: Band,
    upper: Band,
    delay: Delay,
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            lower: Band::new(32),
            upper: Band::new(8),
            delay: [0; 24],
        }
    }
}

impl Encoder {
    /// Encodes each two samples as a byte, as many as the shorter of both holds.
    pub fn encode(&mut self, sound: &[i16], codes: &mut [u8]) {
        for (code, pair) in codes.iter_mut().zip(sound.as_chunks::<2>().0) {
            *code = self.encode_pair(*pair);
        }
    }

    fn encode_pair(&mut self, [first, second]: [i16; 2]) -> u8 {
        shift_in(&mut self.delay, i32::from(first), i32::from(second));
        let (even, odd) = sums(&self.delay);
        let lower = self.lower.quantize_lower((even + odd) >> 14);
        self.lower.adapt_lower(lower);
        let upper = self.upper.quantize_upper((odd - even) >> 14);
        let d = self.upper.adapt_upper(upper);
        self.upper.adapt(d);
        // Six bits and two.
        ((upper << 6) | lower) as u8
    }
}

/// Decodes a stream to sound at 16,000 samples a second.
#[derive(Debug, Clone)]
pub struct Decoder {
    lower: Band,
    upper: Band,
    delay: Delay,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            lower: Band::new(32),
            upper: Band::new(8),
            delay: [0; 24],
        }
    }
}

impl Decoder {
    /// Decodes each byte to two samples, as many as the shorter of both holds.
    pub fn decode(&mut self, codes: &[u8], sound: &mut [i16]) {
        for (pair, code) in sound.as_chunks_mut::<2>().0.iter_mut().zip(codes) {
            *pair = self.decode_byte(*code);
        }
    }

    fn decode_byte(&mut self, code: u8) -> [i16; 2] {
        let (lower, upper) = (i32::from(code & 0x3f), i32::from(code >> 6));
        let difference = (self.lower.det * QM6[lower as usize]) >> 15;
        let low = (self.lower.s + difference).clamp(BAND_MIN, BAND_MAX);
        self.lower.adapt_lower(lower);
        let d = self.upper.adapt_upper(upper);
        let high = (self.upper.s + d).clamp(BAND_MIN, BAND_MAX);
        self.upper.adapt(d);
        shift_in(&mut self.delay, low + high, low - high);
        let (even, odd) = sums(&self.delay);
        // In 16 bits by the clamp.
        [saturate(odd >> 11) as i16, saturate(even >> 11) as i16]
    }
}

#[cfg(test)]
mod tests;
