//! Telling, reading, counting, rating and writing packets allocates nothing after warm-up.

use allocation_counter::measure;
use rtp::mos::{Conditions, rate};
use rtp::rtcp::{Compound, Form, SenderInfo, write};
use rtp::{
    Class, ClockRate, Header, Micros, NtpTime, Packet, Reception, RoundTrip, Sequence, ShortNtp,
    Ssrc, Timestamp, classify,
};

/// One side of a call, with what it writes into.
#[derive(Default)]
struct Side {
    reception: Reception,
    round_trip: RoundTrip,
    sequence: u16,
    out: Vec<u8>,
}

impl Side {
    fn packet(&mut self) {
        self.sequence = self.sequence.wrapping_add(1);
        let header = Header {
            sequence: Sequence(self.sequence),
            timestamp: Timestamp(u32::from(self.sequence) * 160),
            ssrc: Ssrc(7),
            ..Header::default()
        };
        self.out.clear();
        header.push_mixed(&[Ssrc(1), Ssrc(2)], &mut self.out);
        self.out.resize(self.out.len() + 160, 0xff);
        assert_eq!(classify(&self.out), Class::Rtp);
        let packet = Packet::parse(&self.out).expect("a packet");
        let now = Micros(u64::from(self.sequence) * 20_000);
        self.reception.receive(&packet, now, ClockRate::new(8_000));
    }

    fn report(&mut self) {
        let block = self.reception.report(ShortNtp(1), ShortNtp(2));
        let blocks = [block.expect("it has begun")];
        let info = SenderInfo {
            ntp: NtpTime(1 << 40),
            ..SenderInfo::default()
        };
        self.out.clear();
        write::push_sender_report(Ssrc(7), &info, &blocks, &mut self.out).expect("it fits");
        write::push_source_description(Ssrc(7), b"name", &mut self.out).expect("it fits");
        write::push_bye(&[Ssrc(7)], b"done", &mut self.out).expect("it fits");
        assert_eq!(classify(&self.out), Class::Rtcp);
        let compound = Compound::parse(&self.out, Form::Compound).expect("a compound");
        assert_eq!(compound.packets().count(), 3);
        self.round_trip.sent(info.ntp, Micros(5));
        for block in compound.blocks() {
            let _ = self.round_trip.returned(&block, Micros(9));
        }
        let found = self.reception.statistics();
        let rating = rate(&Conditions {
            loss: found.loss(),
            burst_ratio: found.burst_ratio(),
            ..Conditions::default()
        });
        assert!(rating.mos > 4.0);
    }
}

#[test]
fn a_packet_and_a_report_allocate_nothing_after_warm_up() {
    let mut side = Side::default();
    side.packet();
    side.packet();
    side.report();
    let info = measure(|| {
        for _ in 0..100 {
            side.packet();
            side.report();
        }
    });
    assert_eq!(info.count_total, 0);
}
