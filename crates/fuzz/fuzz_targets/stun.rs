//! STUN on a SIP port: whatever is asked, an answer is well formed and no amplifier.
#![no_main]

// The module alone: the crate would bring its resolver and runtime along.
#[rustfmt::skip] // the formatter does not find that file's own modules from here
#[path = "../../net/src/stun.rs"]
mod stun;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let source = "[2001:db8::1]:5060".parse().expect("an address");
    let mut answer = Vec::new();
    if !stun::binding_response(data, source, &mut answer) {
        assert!(answer.is_empty());
        return;
    }
    assert!(stun::is_stun(data) && stun::is_stun(&answer));
    assert!(data.len() <= stun::REQUEST_BYTES_MAX);
    assert_eq!(
        data[4..20],
        answer[4..20],
        "the transaction's number is the request's"
    );
    assert_eq!(
        usize::from(u16::from_be_bytes([answer[2], answer[3]])) + 20,
        answer.len()
    );
    assert_eq!(answer.len() % 4, 0);
    assert!(answer.len() <= data.len() + 100);
});
