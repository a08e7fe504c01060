//! What a listener would think: the E-model of ITU-T G.107, fed with what a relay can know of a stream.
//!
//! R = 93.2 - Idd - Ie,eff, that is, the model's default values for everything that lies in the phones and rooms (loudness,
//! noise, side tone), no talker echo, no advantage. From R follows the mean opinion score (G.107 annex B).
//!
//! What is measured: loss, its burstiness, and, where RTCP passes, the round trip. What is estimated: the listener's jitter buffer is
//! taken to be adaptive, to hold twice the jitter and to drop nothing; half a round trip is taken for the way from mouth to ear.

/// R with the default values of G.107 and nothing that impairs.
const R_DEFAULT: f32 = 93.2;
/// A jitter buffer's target over the mean deviation.
const JITTER_FACTOR: f32 = 2.0;

/// How a stream is encoded, as far as it bears on what is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// G.711, with concealment of losses.
    G711,
    /// G.722. On the scale of telephone sound it is no worse than G.711; its wider sound is not rated.
    G722,
    /// G.729 annex A.
    G729,
    /// G.723.1 at 6.3 kbit/s.
    G7231,
    /// G.726 at 32 kbit/s.
    G726,
    /// GSM 06.10, full rate.
    Gsm,
    /// GSM 06.60, enhanced full rate, and AMR at 12.2 kbit/s, which is the same.
    GsmEfr,
    /// iLBC at 15.2 kbit/s.
    Ilbc,
    /// Opus at the rates of telephony. On the scale of telephone sound.
    Opus,
    /// Something that is not known here, rated as G.711.
    Unknown,
}

impl Codec {
    /// The equipment impairment factor `Ie` and the robustness against loss `Bpl`. G.113 appendix I has the pairs of G.711, G.729,
    /// G.723.1 and GSM EFR, and `Ie` of G.726 and GSM. The rest is estimated: `Bpl` of G.726 and GSM, and both of G.722, iLBC
    /// and Opus.
    fn impairment(self) -> (f32, f32) {
        match self {
            Self::G711 | Self::Unknown => (0.0, 25.1),
            Self::G722 => (0.0, 25.1),
            Self::G729 => (11.0, 19.0),
            Self::G7231 => (15.0, 16.1),
            Self::G726 => (7.0, 20.0),
            Self::Gsm => (20.0, 20.0),
            Self::GsmEfr => (5.0, 10.0),
            Self::Ilbc => (11.0, 32.0),
            Self::Opus => (0.0, 25.0),
        }
    }

    /// Milliseconds that the encoder looks ahead.
    fn lookahead_ms(self) -> f32 {
        match self {
            Self::G729 | Self::GsmEfr => 5.0,
            Self::G7231 => 7.5,
            Self::Opus => 6.5,
            Self::G722 => 1.5,
            Self::G711 | Self::G726 | Self::Gsm | Self::Ilbc | Self::Unknown => 0.0,
        }
    }
}

/// How a stream fared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// How it is encoded.
    pub codec: Codec,
    /// The share of packets lost, 0 to 1.
    pub loss: f32,
    /// How much longer than by chance runs of losses are (`BurstR`), 1 and more; G.107 knows it up to 2 at high loss.
    pub burst_ratio: f32,
    /// Mean deviation of the travelling time, in microseconds.
    pub jitter_us: u32,
    /// From mouth to ear and back, without buffers, in microseconds; 0 where it is not known.
    pub round_trip_us: u32,
    /// Sound in a packet, in microseconds.
    pub packet_us: u32,
}

impl Default for Conditions {
    /// G.711 in packets of 20 ms over a network without faults.
    fn default() -> Self {
        Self {
            codec: Codec::G711,
            loss: 0.0,
            burst_ratio: 1.0,
            jitter_us: 0,
            round_trip_us: 0,
            packet_us: 20_000,
        }
    }
}

/// The verdict.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rating {
    /// The rating factor R, 0 to 93.2.
    pub r: f32,
    /// The mean opinion score, 1 (bad) to 4.41.
    pub mos: f32,
}

/// Rates a stream.
#[must_use]
pub fn rate(conditions: &Conditions) -> Rating {
    let r = R_DEFAULT - delay_impairment(delay_ms(conditions)) - equipment_impairment(conditions);
    let r = r.clamp(0.0, R_DEFAULT);
    Rating { r, mos: mos(r) }
}

/// From mouth to ear, in milliseconds.
fn delay_ms(conditions: &Conditions) -> f32 {
    let network_us = conditions.round_trip_us as f32 / 2.0;
    let buffer_us = conditions.jitter_us as f32 * JITTER_FACTOR;
    let us = network_us + buffer_us + conditions.packet_us as f32;
    us / 1_000.0 + conditions.codec.lookahead_ms()
}

/// Idd: delay beyond 100 ms makes talk clumsy (G.107 section 7.3).
fn delay_impairment(delay_ms: f32) -> f32 {
    if delay_ms <= 100.0 {
        return 0.0;
    }
    let x = (delay_ms / 100.0).log2();
    let root = |x: f32| (1.0 + x.powi(6)).powf(1.0 / 6.0);
    25.0 * (root(x) - 3.0 * root(x / 3.0) + 2.0)
}

/// Ie,eff: what codec and losses do together (G.107 section 7.4).
fn equipment_impairment(conditions: &Conditions) -> f32 {
    let (ie, bpl) = conditions.codec.impairment();
    let loss_percent = conditions.loss.clamp(0.0, 1.0) * 100.0;
    if loss_percent == 0.0 {
        return ie;
    }
    let burst_ratio = conditions.burst_ratio.max(1.0);
    ie + (95.0 - ie) * loss_percent / (loss_percent / burst_ratio + bpl)
}

/// The opinion score that goes with R, which is 93.2 at most (G.107 annex B). The formula dips below 1 near 0.
fn mos(r: f32) -> f32 {
    let mos = 1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6;
    mos.max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f32, expected: f32, within: f32) {
        assert!(
            (found - expected).abs() <= within,
            "{found}, not {expected}"
        );
    }

    #[test]
    fn a_clean_call_has_the_default_rating_of_g_107() {
        let rating = rate(&Conditions::default());
        near(rating.r, 93.2, 0.01);
        near(rating.mos, 4.41, 0.01);
    }

    #[test]
    fn the_score_follows_the_table_of_g_107_annex_b() {
        for (r, score) in [
            (90.0, 4.34),
            (80.0, 4.03),
            (70.0, 3.60),
            (60.0, 3.10),
            (50.0, 2.58),
        ] {
            near(mos(r), score, 0.01);
        }
        near(mos(0.0), 1.0, 0.0);
        near(mos(3.0), 1.0, 0.0);
    }

    #[test]
    fn delay_counts_beyond_100_ms() {
        near(delay_impairment(100.0), 0.0, 0.0);
        // By hand at 400 ms, where X is 2: 25 * (2.0052 - 3 * 1.0141 + 2).
        near(delay_impairment(400.0), 24.07, 0.02);
        let mut last = 0.0;
        for delay in (100..1_000).step_by(10) {
            let impairment = delay_impairment(delay as f32);
            assert!(impairment >= last, "{delay} ms");
            last = impairment;
        }
    }

    #[test]
    fn loss_is_heard_by_codec_and_burst() {
        let lossy = |codec, loss, burst_ratio| {
            rate(&Conditions {
                codec,
                loss,
                burst_ratio,
                ..Conditions::default()
            })
            .r
        };
        // 95 * 2 / (2 + 25.1) less than 93.2.
        near(lossy(Codec::G711, 0.02, 1.0), 86.19, 0.01);
        near(lossy(Codec::G729, 0.0, 1.0), 82.2, 0.01);
        near(lossy(Codec::G729, 0.02, 1.0), 74.2, 0.01);
        assert!(lossy(Codec::G711, 0.1, 2.0) < lossy(Codec::G711, 0.1, 1.0));
        near(lossy(Codec::GsmEfr, 1.0, 50.0), 0.0, 0.0);
    }

    #[test]
    fn whatever_is_asked_the_answer_is_in_range() {
        for loss in [-1.0, 0.0, 0.5, 1.0, 7.0] {
            for us in [0, 1, 1_000_000, u32::MAX] {
                let rating = rate(&Conditions {
                    loss,
                    jitter_us: us,
                    round_trip_us: us,
                    packet_us: us,
                    ..Conditions::default()
                });
                assert!((0.0..=93.2).contains(&rating.r), "{rating:?}");
                assert!((1.0..=4.5).contains(&rating.mos), "{rating:?}");
            }
        }
    }
}
