//! The floor: what one UDP datagram costs on this machine, sent and received over loopback, one
//! system call each. Nothing that handles messages one by one can be below it.

use super::error::Error;
use super::process;
use std::net::UdpSocket;
use std::time::Duration;

/// The size of a small SIP message, in bytes.
const DATAGRAM_BYTES: usize = 500;
const DATAGRAMS: u32 = 400_000;

/// CPU of one send and one receive, in microseconds.
///
/// # Errors
/// The machine's, when loopback does not carry a datagram.
pub(crate) fn send_and_receive_us() -> Result<f64, Error> {
    let bind = || UdpSocket::bind("127.0.0.1:0").map_err(Error::io("binding a socket"));
    let (from, to) = (bind()?, bind()?);
    let address = to.local_addr().map_err(Error::io("binding a socket"))?;
    to.set_read_timeout(Some(Duration::from_secs(1)))
        .map_err(Error::io("setting a timeout"))?;
    let datagram = [b'x'; DATAGRAM_BYTES];
    let mut buffer = [0; 2048];
    let before = process::own_cpu_us();
    for _ in 0..DATAGRAMS {
        from.send_to(&datagram, address)
            .map_err(Error::io("sending a datagram"))?;
        to.recv_from(&mut buffer)
            .map_err(Error::io("receiving a datagram"))?;
    }
    let after = process::own_cpu_us();
    Ok((after - before) / f64::from(DATAGRAMS))
}
