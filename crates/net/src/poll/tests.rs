use super::*;
use crate::udp::{SendBatch, UdpOptions, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread;
use std::time::Instant;

fn bind() -> UdpSocket {
    let address = "127.0.0.1:0".parse().expect("an address");
    UdpSocket::bind(address, &UdpOptions::default()).expect("bound")
}

fn pollers() -> [Poller; 2] {
    let precise = Poller::new().expect("a poller");
    let mut timed = Poller::new().expect("a poller");
    timed.use_timer().expect("a timer");
    [precise, timed]
}

#[test]
fn a_timeout_below_a_millisecond_is_kept() {
    for mut poller in pollers() {
        let began = Instant::now();
        for _ in 0..20 {
            let ready = poller
                .wait(Some(Duration::from_micros(200)))
                .expect("waited");
            assert!(ready.is_empty());
        }
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(4), "{took:?}");
        // A resolution of a millisecond would take 20 ms; leave room for a busy machine.
        assert!(took < Duration::from_millis(500), "{took:?}");
    }
}

#[test]
fn a_ready_socket_ends_the_wait_until_it_is_emptied() {
    for mut poller in pollers() {
        let (sender, receiver) = (bind(), bind());
        poller
            .add(&receiver, Token(7), Interest::Readable)
            .expect("watched");
        let mut batch = SendBatch::new();
        batch.push(receiver.local_address(), None, b"x");
        assert_eq!(batch.flush(&sender).sent, 1);
        let expected = Ready {
            token: Token(7),
            readable: true,
            writable: false,
            error: false,
        };
        for _ in 0..2 {
            assert_eq!(
                poller.wait(Some(Duration::from_secs(5))).expect("waited"),
                [expected]
            );
        }
        receiver
            .receive(&mut crate::udp::ReceiveBatch::new(1))
            .expect("received");
        assert!(
            poller
                .wait(Some(Duration::ZERO))
                .expect("looked")
                .is_empty()
        );

        let both = Interest::ReadableAndWritable;
        poller.modify(&receiver, Token(8), both).expect("changed");
        let expected = Ready {
            token: Token(8),
            readable: false,
            writable: true,
            error: false,
        };
        assert_eq!(poller.wait(None).expect("waited"), [expected]);
        poller.remove(&receiver).expect("removed");
        assert!(
            poller
                .wait(Some(Duration::ZERO))
                .expect("looked")
                .is_empty()
        );
    }
}

#[test]
fn a_wake_before_the_wait_is_not_lost_and_is_seen_once() {
    let mut poller = Poller::new().expect("a poller");
    let waker = poller.waker();
    waker.wake();
    waker.wake();
    let ready = poller.wait(None).expect("waited");
    assert_eq!(
        ready.iter().map(|ready| ready.token).collect::<Vec<_>>(),
        [Token::WAKER]
    );
    assert!(
        poller
            .wait(Some(Duration::from_millis(1)))
            .expect("waited")
            .is_empty()
    );
}

#[test]
fn reserved_tokens_are_refused() {
    let poller = Poller::new().expect("a poller");
    let socket = bind();
    for token in [Token::WAKER, Token::TIMER] {
        let refused = poller.add(&socket, token, Interest::Readable);
        assert_eq!(
            refused.expect_err("refused").kind(),
            io::ErrorKind::InvalidInput
        );
    }
}

#[test]
fn no_wake_among_many_threads_is_lost() {
    const THREADS: u64 = 4;
    const ITEMS: u64 = 20_000;
    for mut poller in pollers() {
        let produced = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let (waker, produced) = (poller.waker(), produced.clone());
                thread::spawn(move || {
                    for _ in 0..ITEMS {
                        produced.fetch_add(1, Ordering::Relaxed);
                        waker.wake();
                    }
                })
            })
            .collect();
        // Each wait is without end: a lost wake would leave this loop asleep for ever, so a
        // watchdog wakes it after a minute and the count is checked.
        let watchdog = {
            let (waker, stop) = (poller.waker(), stop.clone());
            thread::spawn(move || {
                let began = Instant::now();
                while !stop.load(Ordering::Relaxed) {
                    thread::park_timeout(Duration::from_millis(100));
                    if began.elapsed() > Duration::from_secs(60) {
                        stop.store(true, Ordering::Relaxed);
                        waker.wake();
                        return false;
                    }
                }
                true
            })
        };
        while produced.load(Ordering::Relaxed) < THREADS * ITEMS && !stop.load(Ordering::Relaxed) {
            let ready = poller.wait(None).expect("waited");
            assert_eq!(ready.len(), 1);
        }
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().expect("no panic");
        }
        watchdog.thread().unpark();
        assert!(watchdog.join().expect("no panic"), "a wake was lost");
        assert_eq!(produced.load(Ordering::Relaxed), THREADS * ITEMS);
    }
}
