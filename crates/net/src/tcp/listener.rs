//! Accepting connections.

use super::{Hub, ListenOptions, canonical};
use crate::sys::{Kind, Socket};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpListener;

/// First and longest pause after a failure of accept(2). Some of them last (no descriptors left) and
/// would be met again at once; while pausing, connections wait in the kernel's backlog.
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(500);

pub(super) fn listen(
    hub: &Arc<Hub>,
    address: SocketAddr,
    options: ListenOptions,
) -> io::Result<SocketAddr> {
    let socket = Socket::open(Kind::Stream, address)?;
    socket.set(libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    if address.is_ipv6() {
        let only = i32::from(!options.dual_stack);
        socket.set(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, only)?;
    }
    if options.freebind {
        socket.set(libc::IPPROTO_IP, libc::IP_FREEBIND, 1)?;
    }
    socket.bind(address)?;
    socket.listen(i32::try_from(hub.options.backlog).unwrap_or(i32::MAX))?;
    let address = socket.local_address()?;
    let listener = {
        let _in_runtime = hub.runtime.enter();
        TcpListener::from_std(socket.into_descriptor().into())?
    };
    let task = hub
        .runtime
        .spawn(accept(hub.clone(), listener))
        .abort_handle();
    if !hub.table().add_listener(address, task.clone()) {
        task.abort();
        return Err(io::Error::from(io::ErrorKind::ConnectionAborted));
    }
    Ok(address)
}

async fn accept(hub: Arc<Hub>, listener: TcpListener) {
    let mut pause = PAUSE_MIN;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                pause = PAUSE_MIN;
                // A failure here means that the peer is gone again.
                let (Ok(()), Ok(local)) = (stream.set_nodelay(true), stream.local_addr()) else {
                    continue;
                };
                // A refusal is counted there, and drops the stream, which closes it.
                let _ = Hub::attach(&hub, stream, canonical(peer), local, true);
            }
            Err(_) => {
                hub.counters.accept_failures.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}
