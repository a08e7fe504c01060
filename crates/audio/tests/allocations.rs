//! After construction no frame of sound allocates.

use allocation_counter::measure;
use audio::comfort::{self, Description};
use audio::conceal::Concealer;
use audio::dtmf::{Detector, Digit, Generator};
use audio::event::{Payload, Receiver, Sender};
use audio::g711::Law;
use audio::jitter::{Buffer, Incoming, Next, Settings};
use audio::mix::{Gain, Limiter, Mix};
use audio::resample::Resampler;
use audio::tone::{Country, Player};
use audio::{SampleRate, g722, opus};

/// All that a call may need.
struct Call {
    frame: u32,
    buffer: Buffer,
    concealer: Concealer,
    up: Resampler,
    down: Resampler,
    opus_encoder: opus::Encoder,
    opus_decoder: opus::Decoder,
    encoder: g722::Encoder,
    decoder: g722::Decoder,
    detector: Detector,
    tone: Player,
    noise: comfort::Generator,
    mix: Mix,
    limiter: Limiter,
    gain: Gain,
    receiver: Receiver,
    out: Vec<u8>,
}

impl Call {
    fn new() -> Self {
        let rate = SampleRate::Hz8000;
        Self {
            frame: 0,
            buffer: Buffer::new(Settings::default()),
            concealer: Concealer::new(rate),
            up: Resampler::new(rate, SampleRate::Hz16000),
            down: Resampler::new(SampleRate::Hz16000, rate),
            opus_encoder: opus::Encoder::new(&opus::Settings {
                rate: SampleRate::Hz16000,
                ..opus::Settings::default()
            })
            .expect("memory"),
            opus_decoder: opus::Decoder::new(SampleRate::Hz16000).expect("memory"),
            encoder: g722::Encoder::default(),
            decoder: g722::Decoder::default(),
            detector: Detector::default(),
            tone: Player::new(Country::Us.progress().ringing, rate, Player::LEVEL_DB),
            noise: comfort::Generator::new(1),
            mix: Mix::new(160),
            limiter: Limiter::default(),
            gain: Gain::new(-3.0),
            receiver: Receiver::default(),
            out: Vec::new(),
        }
    }

    /// 20 ms of sound all the way round.
    fn frame(&mut self) {
        self.frame += 1;
        let now_us = u64::from(self.frame) * 20_000;
        let mut sound = [0; 160];
        let mut codes = [0; 160];
        self.tone.play(&mut sound);
        self.gain.apply(&mut sound);
        Law::Mu.encode(&sound, &mut codes);
        // Each tenth is lost.
        if !self.frame.is_multiple_of(10) {
            let packet = Incoming {
                timestamp: self.frame * 160,
                payload_type: 0,
                payload: &codes,
            };
            self.buffer.insert(&packet, now_us);
        }
        match self.buffer.pull(160, now_us) {
            Next::Packet { payload, .. } => {
                Law::Mu.decode(payload, &mut sound);
                self.concealer.receive(&mut sound);
                self.buffer.advance(160);
            }
            Next::Missing { .. } => self.concealer.conceal(&mut sound),
            Next::Silent => self.noise.play(&mut sound),
        }
        self.detector.listen(&sound, |_| {});
        let mut wide = [0; 320];
        self.up.process(&sound, &mut wide);
        self.encoder.encode(&wide, &mut codes);
        self.decoder.decode(&codes, &mut wide);
        let mut payload = [0; opus::PAYLOAD_BYTES_MAX];
        let count = self.opus_encoder.encode(&wide, &mut payload);
        let count = count.expect("20 ms");
        let count = self.opus_decoder.decode(&payload[..count], &mut wide);
        assert_eq!(count, Ok(wide.len()));
        self.down.process(&wide, &mut sound);
        self.mix.clear();
        self.mix.add(&sound);
        self.mix.hear(&[], &mut self.limiter, &mut sound);
        let description = Description::of(&sound, 8);
        self.out.clear();
        description.push(&mut self.out);
        self.noise.describe(&description);
    }

    fn key(&mut self) {
        let digit = Digit::of_sign('5').expect("a key");
        let mut key = Generator::new(digit, SampleRate::Hz8000, 40, 40);
        let mut sound = [0; 160];
        while key.play(&mut sound) == sound.len() {
            self.detector.listen(&sound, |_| {});
        }
        let mut sender = Sender::new(digit.event(), 10, self.frame * 160, Some(800));
        while let Some(packet) = sender.send(160) {
            let payload = Payload::parse(&packet.payload.to_bytes()).expect("four bytes");
            self.receiver.receive(payload, packet.timestamp, 0, |_| {});
        }
    }
}

#[test]
fn a_frame_allocates_nothing_after_construction() {
    let mut call = Call::new();
    call.frame();
    let info = measure(|| {
        for _ in 0..200 {
            call.frame();
            call.key();
        }
    });
    assert_eq!(info.count_total, 0);
    assert!(call.buffer.counts().concealed > 0);
}
