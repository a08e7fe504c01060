//! A message whose body may hold a session description, in multiparts too: it is found inside the body or not
//! at all, and what is found is the same after the message was written with another length in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sip::{Index, Limits, Splices, body};

fuzz_target!(|data: &[u8]| {
    let mut index = Index::new();
    let limits = Limits::default();
    let Ok(message) = index.parse(data, &limits) else {
        return;
    };
    let found = match body::session_description(&message) {
        Ok(found) => found,
        Err(error) => {
            assert!((400..500).contains(&error.status().0));
            return;
        }
    };
    let Some(found) = found else { return };
    let whole = message.body_span();
    assert!(whole.start <= found.start && found.start <= found.end && found.end <= whole.end);
    // An empty part has no line end of its own, so nothing can be put into it.
    if message.defect().is_some() || found.start == found.end {
        return;
    }
    let mut splices = Splices::new();
    splices.insert(found.end, b"a=x\r\n");
    body::replace_length(&message, message.body().len() + 5, &mut splices);
    let mut out = Vec::new();
    splices.write_range(message.buffer(), message.extent(), &mut out);
    let mut second = Index::new();
    let written = second
        .parse(&out, &limits)
        .expect("it was a message before");
    assert!(written.defect().is_none());
    let span = body::session_description(&written)
        .expect("it was readable before")
        .expect("it was there before");
    let (old, new) = (found.of(message.buffer()), span.of(&out));
    assert!(new.starts_with(old) && new.ends_with(b"a=x\r\n") && new.len() == old.len() + 5);
});
