//! What two nodes of a cluster tell each other first: no bytes make the reader panic, what is read is written back the same, and
//! whoever agrees with us agrees with itself.
#![no_main]

// The module alone: the crate would bring TLS and its resolver along.
#[rustfmt::skip] // the formatter does not find that file's own modules from here
#[path = "../../net/src/peer/greeting.rs"]
#[allow(dead_code, reason = "the crate uses all of it")]
mod greeting;

/// In the place of the crate's own: what the module says of a greeting that it refuses.
mod error {
    #[derive(Debug)]
    #[allow(dead_code, reason = "nobody reads them here")]
    pub(super) enum PeerError {
        Garbage,
        Version { found: u64 },
        OtherCluster { found: String },
        Disagreement { found: String, own: String },
    }
}

use greeting::Greeting;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(greeting) = Greeting::read(data) else {
        return;
    };
    let mut bytes = Vec::new();
    greeting.write(&mut bytes);
    let again = Greeting::read(&bytes[4..]).expect("our own");
    assert_eq!(again, greeting);
    let own = Greeting {
        cluster: "lab".to_owned(),
        name: "edge1".to_owned(),
        number: 0,
        agreement: "lease_us = 300000\nmargin_us = 30000\nservice edge address = 10.0.0.100\n"
            .to_owned(),
    };
    // Refusing is mutual: each says the other's line.
    assert_eq!(own.check(&greeting).is_ok(), greeting.check(&own).is_ok());
});
