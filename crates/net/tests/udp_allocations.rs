//! A datagram through the batches allocates nothing after warm-up.
#![allow(unsafe_code)]

use net::udp::{ReceiveBatch, SendBatch, UdpOptions, UdpSocket};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_datagram_allocates_nothing_after_warm_up() {
    let any = "127.0.0.1:0".parse().expect("an address");
    let client = UdpSocket::bind(any, &UdpOptions::default()).expect("bound");
    let wildcard = "0.0.0.0:0".parse().expect("an address");
    let server = UdpSocket::bind(wildcard, &UdpOptions::default()).expect("bound");
    let mut target = server.local_address();
    target.set_ip(any.ip());
    let (mut requests, mut replies) = (SendBatch::new(), SendBatch::new());
    let mut incoming = ReceiveBatch::new(32);
    let mut answered = 0;
    let mut before = 0;
    for round in 0..50 {
        if round == 10 {
            before = ALLOCATIONS.load(Ordering::Relaxed);
        }
        for _ in 0..64 {
            requests.push(target, None, &[b'q'; 500]);
        }
        assert_eq!(requests.flush(&client).sent, 64);
        while server.receive(&mut incoming).expect("received") > 0 {
            for datagram in incoming.datagrams() {
                replies.push_with(datagram.source, Some(datagram.local.ip()), |buffer| {
                    buffer.extend_from_slice(datagram.bytes);
                });
            }
        }
        assert_eq!(replies.flush(&server).sent, 64);
        while client.receive(&mut incoming).expect("received") > 0 {
            answered += incoming.len();
        }
    }
    assert_eq!(answered, 50 * 64);
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - before, 0);
}
