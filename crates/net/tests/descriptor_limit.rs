//! The limit of descriptors, in a process of its own: it is one for all threads.
#![allow(unsafe_code)]

use std::fs::File;

/// The limit in force and the one up to which it may be raised.
fn limit() -> libc::rlimit {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a live limit, which the kernel fills in.
    let got = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    assert_eq!(got, 0);
    limit
}

#[test]
fn the_limit_is_raised_as_far_as_it_may_be() {
    let hard = limit().rlim_max.min(256);
    let low = libc::rlimit {
        rlim_cur: 32,
        rlim_max: hard,
    };
    // SAFETY: the pointer is to a live limit, which the kernel copies.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const low) };
    assert_eq!(set, 0);
    for _ in 0..2 {
        assert_eq!(net::descriptors::raise_limit().expect("told"), hard);
        assert_eq!(limit().rlim_cur, hard);
    }
    let open: Result<Vec<_>, _> = (0..100).map(|_| File::open("/dev/null")).collect();
    open.expect("more than the old limit");
}
