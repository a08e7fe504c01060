//! Indexing, comparing, rewriting and writing allocate nothing after warm-up.

use allocation_counter::measure;
use sdp::{Edits, Index, Limits, Ports, Rewrite, check_answer, rewrite};

const OFFER: &[u8] = include_bytes!("phones/linphone.sdp");
const OTHER: &[u8] = include_bytes!("phones/browser.sdp");

/// What is used again from call to call.
#[derive(Default)]
struct Tools {
    index: Index,
    other: Index,
    edits: Edits,
    out: Vec<u8>,
}

impl Tools {
    fn relay(&mut self, body: &[u8]) {
        let limits = Limits::default();
        let description = self.index.parse(body, &limits).expect("a description");
        let ports = [Some(Ports {
            rtp: 20_000,
            rtcp: 30_000,
        }); 3];
        let address = "2001:db8::1".parse().expect("an address");
        let change = Rewrite {
            address,
            ports: &ports,
        };
        rewrite(&description, &change, &mut self.edits);
        self.out.clear();
        self.edits.write(body, &mut self.out);
        let sent = self.other.parse(&self.out, &limits).expect("a description");
        check_answer(&description, &sent).expect("the same lines");
        for media in sent.media() {
            assert!(media.formats().all(|format| format.payload_type < 128));
        }
    }
}

#[test]
fn a_description_allocates_nothing_after_warm_up() {
    let mut tools = Tools::default();
    let both = |tools: &mut Tools| {
        tools.relay(OFFER);
        tools.relay(OTHER);
    };
    both(&mut tools);
    let info = measure(|| {
        for _ in 0..100 {
            both(&mut tools);
        }
    });
    assert_eq!(info.count_total, 0);
}
