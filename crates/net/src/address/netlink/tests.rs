use super::*;

/// The value of the first attribute of this kind.
fn attribute(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes)
        .find(|(kind, _)| *kind == wanted)
        .map(|(_, value)| value)
}

#[test]
fn messages_and_nested_attributes_have_their_lengths() {
    let mut messages = Messages::default();
    messages.message(7, 0, &[1, 2, 3]);
    messages
        .message(9, libc::NLM_F_ACK, &[4; 4])
        .nest(1, |nest| {
            nest.text(2, "ab").attribute(3, &[5; 5]);
        });
    messages.attribute(4, &[6]);
    let bytes = messages.bytes();
    assert_eq!(
        u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
        20
    );
    let read: Vec<_> = answers(bytes).collect();
    assert_eq!(read.len(), 2);
    assert_eq!((read[0].0, read[1].0), (7, 9));
    let body = &read[1].1[4..];
    let nest = attribute(body, 1).expect("it is there");
    assert_eq!(text_of(attribute(nest, 2).expect("there")), "ab");
    assert_eq!(attribute(nest, 3), Some(&[5; 5][..]));
    assert_eq!(attribute(body, 4), Some(&[6][..]));
    assert_eq!(attribute(body, 5), None);
}

#[test]
fn what_ends_too_early_ends_the_walk() {
    for bytes in [&[][..], &[0; 3], &[0; 16], &[9, 0, 1, 0, 1], &[255; 40]] {
        assert_eq!(attributes(bytes).count(), 0, "{bytes:?}");
        assert_eq!(answers(bytes).count(), 0, "{bytes:?}");
    }
}

#[test]
fn the_kernel_answers_before_it_returns() {
    let mut channel = Channel::open(Protocol::Route).expect("a socket");
    let mut request = Messages::default();
    // RTM_GETLINK by index: loopback is the first of every namespace.
    let mut body = [0; 16];
    body[4] = 1;
    request.message(libc::RTM_GETLINK, 0, &body);
    let mut seen = 0;
    channel
        .ask(&request, |kind, _| {
            assert_eq!(kind, libc::RTM_NEWLINK);
            seen += 1;
        })
        .expect("an answer");
    assert_eq!(seen, 1);
    body[4] = 255;
    body[5] = 255;
    request.clear();
    request.message(libc::RTM_GETLINK, 0, &body);
    let error = channel.request(&request).expect_err("no such interface");
    assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
}
