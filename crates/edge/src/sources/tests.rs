use transaction::Transport;

use super::*;

const GUESSER: &str = "198.51.100.7:5060";

fn flow(remote: &str) -> Flow {
    Flow {
        transport: Transport::Udp,
        remote: remote.parse().expect("an address"),
        local: "192.0.2.1:5060".parse().expect("an address"),
    }
}

fn stream(remote: &str) -> Flow {
    Flow {
        transport: Transport::Tcp,
        ..flow(remote)
    }
}

/// Sources with a time.
struct Rig {
    sources: Sources,
    limits: SourceLimits,
    now_ms: u64,
}

impl Rig {
    fn new() -> Rig {
        Rig {
            sources: Sources::new((1, 2), 64, 1_024),
            limits: SourceLimits::default(),
            now_ms: 1_000,
        }
    }

    fn now(&self) -> Time {
        Time::from_ms(self.now_ms)
    }

    fn offend(&mut self, flow: &Flow, offence: Offence, is_proved: bool) -> Option<Ban> {
        let now = self.now();
        self.sources
            .offended(&self.limits, now, flow, offence, is_proved)
    }

    /// Offends until the ban comes; how often that took.
    fn provoke(&mut self, flow: &Flow, offence: Offence, is_proved: bool) -> (u32, Ban) {
        for times in 1..100_000 {
            if let Some(ban) = self.offend(flow, offence, is_proved) {
                return (times, ban);
            }
        }
        panic!("never banned");
    }

    fn is_banned(&mut self, flow: &Flow) -> bool {
        let now = self.now();
        self.sources.is_banned(now, flow)
    }

    fn authenticate(&mut self, flow: &Flow) {
        let now = self.now();
        self.sources.authenticated(now, flow);
    }

    fn requests_within(&mut self, flow: &Flow, of: u32) -> u32 {
        let now = self.now();
        let within = |_: &u32| self.sources.charge(&self.limits, now, flow) == Charge::Within;
        (0..of).filter(within).count() as u32
    }
}

#[test]
fn ten_wrong_passwords_ban_an_address_for_a_minute() {
    let mut rig = Rig::new();
    let guesser = flow(GUESSER);
    let (times, ban) = rig.provoke(&guesser, Offence::Password, true);
    assert_eq!(times, 10);
    assert_eq!(ban.source.to_string(), "198.51.100.7/32");
    assert!(rig.is_banned(&guesser));
    assert!(rig.is_banned(&flow("198.51.100.7:999")));
    assert!(rig.is_banned(&stream(GUESSER)));
    assert!(!rig.is_banned(&flow("198.51.100.8:5060")));
    rig.now_ms += 60_000;
    assert!(!rig.is_banned(&guesser));
    assert_eq!(rig.sources.bans(rig.now()).count(), 0);
}

#[test]
fn each_proved_ban_is_twice_as_long_up_to_an_hour_until_the_source_reforms() {
    let mut rig = Rig::new();
    let guesser = flow(GUESSER);
    let mut lengths = Vec::new();
    for _ in 0..8 {
        let (_, ban) = rig.provoke(&guesser, Offence::Password, true);
        lengths.push(ban.until.ms_since(rig.now()) / 1_000);
        rig.now_ms = ban.until.as_ms();
    }
    assert_eq!(lengths, [60, 120, 240, 480, 960, 1_920, 3_600, 3_600]);
    rig.now_ms += REFORM_MS + 1;
    let (_, ban) = rig.provoke(&guesser, Offence::Password, true);
    assert_eq!(ban.until.ms_since(rig.now()), 60_000);
}

#[test]
fn a_phone_that_is_told_the_wrong_password_once_a_minute_is_never_banned() {
    let mut rig = Rig::new();
    for _ in 0..1_000 {
        assert_eq!(rig.offend(&flow(GUESSER), Offence::Password, true), None);
        rig.now_ms += 60_000;
    }
}

#[test]
fn what_anybody_could_send_in_its_name_bans_datagrams_only_and_never_for_longer() {
    let mut rig = Rig::new();
    for _ in 0..5 {
        let (_, ban) = rig.provoke(&flow(GUESSER), Offence::Malformed, false);
        assert_eq!(ban.until.ms_since(rig.now()), 60_000);
        assert!(rig.is_banned(&flow(GUESSER)));
        assert!(!rig.is_banned(&stream(GUESSER)));
        rig.now_ms = ban.until.as_ms();
    }
    // Nor did that make the first proved one longer.
    let (_, ban) = rig.provoke(&flow(GUESSER), Offence::Password, true);
    assert_eq!(ban.until.ms_since(rig.now()), 60_000);
}

#[test]
fn over_a_stream_every_offence_is_proved() {
    let mut rig = Rig::new();
    let (_, ban) = rig.provoke(&stream(GUESSER), Offence::Malformed, false);
    assert!(ban.is_proved);
    assert!(rig.is_banned(&flow(GUESSER)));
}

#[test]
fn a_proved_ban_takes_the_place_of_an_unproved_one() {
    let mut rig = Rig::new();
    rig.provoke(&flow(GUESSER), Offence::Malformed, false);
    assert_eq!(rig.offend(&flow(GUESSER), Offence::Malformed, false), None);
    let (_, ban) = rig.provoke(&stream(GUESSER), Offence::Password, true);
    assert!(ban.is_proved);
    assert!(rig.is_banned(&stream(GUESSER)));
    assert_eq!(rig.sources.bans(rig.now()).count(), 1);
}

#[test]
fn a_flow_that_authenticated_is_not_touched_by_its_neighbours_ban() {
    let mut rig = Rig::new();
    let good = flow("198.51.100.7:4444");
    rig.authenticate(&good);
    rig.provoke(&flow(GUESSER), Offence::Password, true);
    assert!(rig.is_banned(&flow(GUESSER)));
    assert!(!rig.is_banned(&good));
    assert!(rig.is_banned(&stream("198.51.100.7:4444")));
    rig.now_ms += 59_000;
    assert!(!rig.is_banned(&good));
}

#[test]
fn an_address_bears_more_the_more_good_flows_it_has() {
    let mut rig = Rig::new();
    for port in 0..200 {
        rig.authenticate(&flow(&format!("198.51.100.7:{}", 10_000 + port)));
    }
    let (times, _) = rig.provoke(&flow(GUESSER), Offence::Password, true);
    assert!((300..=330).contains(&times), "{times}");
    // They are forgotten in time.
    rig.now_ms += 24 * GOOD_HALVED_MS;
    let (times, _) = rig.provoke(&flow(GUESSER), Offence::Password, true);
    assert_eq!(times, 10);
}

#[test]
fn a_good_flow_that_guesses_passwords_is_no_longer_good() {
    let mut rig = Rig::new();
    let flow = flow(GUESSER);
    rig.authenticate(&flow);
    let mut guesses = 0;
    while !rig.is_banned(&flow) {
        rig.offend(&flow, Offence::Password, true);
        guesses += 1;
        // Right credentials in between do not wash it clean.
        if guesses % 3 == 0 && guesses < 8 {
            rig.authenticate(&flow);
        }
        assert!(guesses < 30);
    }
    assert!(guesses >= 8);
}

#[test]
fn a_phone_with_stale_settings_stays_good_if_it_errs_seldom() {
    let mut rig = Rig::new();
    let flow = flow(GUESSER);
    rig.authenticate(&flow);
    for _ in 0..100 {
        rig.offend(&flow, Offence::Password, true);
        rig.now_ms += 60_000;
        rig.authenticate(&flow);
    }
    rig.provoke(&stream("198.51.100.7:9"), Offence::Malformed, true);
    assert!(!rig.is_banned(&flow));
}

#[test]
fn a_hundred_challenges_of_one_port_that_nothing_follows_are_a_scan() {
    let mut rig = Rig::new();
    let (times, ban) = rig.provoke(&flow(GUESSER), Offence::Challenged, false);
    assert!((100..=101).contains(&times), "{times}");
    assert!(!ban.is_proved);
}

#[test]
fn six_hundred_phones_that_start_together_behind_one_address_are_no_scan() {
    let mut rig = Rig::new();
    let phones: Vec<Flow> = (0..600)
        .map(|port| flow(&format!("198.51.100.7:{}", 20_000 + port)))
        .collect();
    for phone in &phones {
        assert_eq!(rig.offend(phone, Offence::Challenged, false), None);
    }
    for phone in &phones {
        rig.authenticate(phone);
    }
    assert!(
        phones
            .iter()
            .all(|phone| !rig.sources.is_banned(Time::from_ms(2_000), phone))
    );
}

#[test]
fn a_gateway_with_many_accounts_on_one_port_makes_up_for_its_challenges() {
    let mut rig = Rig::new();
    let gateway = flow(GUESSER);
    for _ in 0..10_000 {
        assert_eq!(rig.offend(&gateway, Offence::Challenged, false), None);
        rig.authenticate(&gateway);
    }
}

#[test]
fn a_source_may_send_a_burst_and_then_its_rate() {
    let mut rig = Rig::new();
    rig.limits.requests_per_s = 10;
    rig.limits.requests_burst = 50;
    let source = flow(GUESSER);
    assert_eq!(rig.requests_within(&source, 60), 50);
    rig.now_ms += 1_000;
    assert_eq!(rig.requests_within(&source, 60), 10);
    rig.now_ms += 60_000;
    assert_eq!(rig.requests_within(&source, 60), 50);
    rig.limits.requests_per_s = 0;
    assert_eq!(rig.requests_within(&source, 1_000), 1_000);
}

#[test]
fn who_goes_far_over_his_rate_is_banned() {
    let mut rig = Rig::new();
    rig.limits.requests_per_s = 10;
    rig.limits.requests_burst = 50;
    rig.requests_within(&flow(GUESSER), 1_049);
    assert!(!rig.is_banned(&flow(GUESSER)));
    rig.requests_within(&flow(GUESSER), 2);
    assert!(rig.is_banned(&flow(GUESSER)));
}

#[test]
fn forgers_who_use_an_addresss_rate_up_leave_its_good_flows_theirs() {
    let mut rig = Rig::new();
    let good = flow("198.51.100.7:4444");
    rig.authenticate(&good);
    rig.requests_within(&flow(GUESSER), 5_000);
    assert_eq!(rig.requests_within(&flow("198.51.100.7:9"), 1), 0);
    assert_eq!(rig.requests_within(&good, 500), 500);
}

#[test]
fn ipv6_hosts_of_one_64_are_one_source_and_their_flows_are_told_apart() {
    let mut rig = Rig::new();
    let good = flow("[2001:db8:1:2::10]:5060");
    rig.authenticate(&good);
    let (_, ban) = rig.provoke(&flow("[2001:db8:1:2::7]:5060"), Offence::Password, true);
    assert_eq!(ban.source.to_string(), "2001:db8:1:2::/64");
    assert!(rig.is_banned(&flow("[2001:db8:1:2:ffff::9]:5060")));
    assert!(!rig.is_banned(&flow("[2001:db8:1:3::7]:5060")));
    assert!(!rig.is_banned(&good));
}

#[test]
fn an_ipv4_address_in_an_ipv6_socket_is_the_same_source() {
    let mut rig = Rig::new();
    rig.provoke(&flow("[::ffff:198.51.100.7]:5060"), Offence::Password, true);
    assert!(rig.is_banned(&flow(GUESSER)));
}

#[test]
fn an_operator_ends_a_ban_and_what_led_to_it() {
    let mut rig = Rig::new();
    let guesser = flow(GUESSER);
    rig.provoke(&guesser, Offence::Password, true);
    rig.is_banned(&guesser);
    let bans: Vec<Ban> = rig.sources.bans(rig.now()).collect();
    assert_eq!((bans.len(), bans[0].dropped), (1, 1));
    let now = rig.now();
    assert!(rig.sources.unban(now, guesser.remote.ip()));
    assert!(!rig.sources.unban(now, guesser.remote.ip()));
    assert!(!rig.is_banned(&guesser));
    let (times, ban) = rig.provoke(&guesser, Offence::Password, true);
    assert_eq!((times, ban.times), (10, 1));
}

#[test]
fn without_bans_rates_hold_all_the_same() {
    let mut rig = Rig::new();
    rig.limits.bans = false;
    for _ in 0..1_000 {
        assert_eq!(rig.offend(&flow(GUESSER), Offence::Password, true), None);
    }
    assert_eq!(rig.requests_within(&flow(GUESSER), 1_100), 1_000);
    assert!(!rig.is_banned(&flow(GUESSER)));
}

#[test]
fn the_table_stays_as_it_is_and_keeps_bans_while_strangers_fill_it() {
    let mut rig = Rig::new();
    rig.provoke(&flow(GUESSER), Offence::Password, true);
    for number in 0..10_000u32 {
        let [_, one, two, three] = number.to_be_bytes();
        rig.now_ms += 1;
        let other = flow(&format!("203.{one}.{two}.{three}:5060"));
        rig.offend(&other, Offence::Malformed, false);
    }
    assert_eq!(rig.sources.len(), 64);
    assert!(rig.is_banned(&flow(GUESSER)));
}
