//! A binding as a record for a standby.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use records::Error;
use records::tlv::{self, Fields};
use transaction::{Flow, Transport};

use crate::record::{BindingFields, BindingRow};

mod tag {
    pub(super) const CONTACT: u64 = 1;
    pub(super) const Q: u64 = 2;
    pub(super) const EXPIRES: u64 = 3;
    pub(super) const DURABLE: u64 = 4;
    pub(super) const REFRESHED: u64 = 5;
    pub(super) const TRANSPORT: u64 = 6;
    pub(super) const REMOTE: u64 = 7;
    pub(super) const LOCAL: u64 = 8;
    pub(super) const FLAGS: u64 = 9;
    pub(super) const PATH: u64 = 10;
    pub(super) const INSTANCE: u64 = 11;
    pub(super) const REG_ID: u64 = 12;
    pub(super) const CALL_ID: u64 = 13;
    pub(super) const CSEQ: u64 = 14;
    pub(super) const USER_AGENT: u64 = 15;
}

const BEHIND_NAT: u64 = 1;
const USE_FLOW: u64 = 1 << 1;

impl BindingFields<'_> {
    /// Appends the value of its record.
    pub fn write(&self, out: &mut Vec<u8>) {
        tlv::write_bytes(tag::CONTACT, self.contact, out);
        if let Some(q) = self.q_thousandths {
            tlv::write_number(tag::Q, u64::from(q), out);
        }
        tlv::write_number(tag::EXPIRES, self.expires_at_unix_s, out);
        tlv::write_number(tag::DURABLE, self.durable_expires_at_unix_s, out);
        tlv::write_number(tag::REFRESHED, self.refreshed_at_unix_s, out);
        let transport = match self.flow.transport {
            Transport::Udp => 0,
            Transport::Tcp => 1,
        };
        tlv::write_number(tag::TRANSPORT, transport, out);
        write_address(tag::REMOTE, self.flow.remote, out);
        write_address(tag::LOCAL, self.flow.local, out);
        let flags = u64::from(self.behind_nat) * BEHIND_NAT + u64::from(self.use_flow) * USE_FLOW;
        tlv::write_number(tag::FLAGS, flags, out);
        for (tag, text) in [
            (tag::PATH, self.path),
            (tag::INSTANCE, self.instance),
            (tag::CALL_ID, self.call_id),
            (tag::USER_AGENT, self.user_agent),
        ] {
            if !text.is_empty() {
                tlv::write_bytes(tag, text, out);
            }
        }
        if let Some(reg_id) = self.reg_id {
            tlv::write_number(tag::REG_ID, u64::from(reg_id), out);
        }
        tlv::write_number(tag::CSEQ, u64::from(self.cseq), out);
    }
}

impl BindingRow {
    /// Reads the value of a record: the binding `id` of `aor`, and the end that the store surely holds, 0 for none.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(aor: &[u8], id: u64, value: &[u8]) -> Result<(BindingRow, u64), Error> {
        let (mut transport, mut remote, mut local) = (None, None, None);
        let (mut contact, mut flags, mut durable) = (None, 0, 0);
        let mut row = BindingFields {
            id,
            contact: b"",
            q_thousandths: None,
            expires_at_unix_s: 0,
            durable_expires_at_unix_s: 0,
            refreshed_at_unix_s: 0,
            flow: NOWHERE,
            behind_nat: false,
            use_flow: false,
            path: b"",
            instance: b"",
            reg_id: None,
            call_id: b"",
            cseq: 0,
            user_agent: b"",
        };
        let mut fields = Fields::new(value);
        while let Some((tag, bytes)) = fields.field()? {
            match tag {
                tag::CONTACT => contact = Some(bytes),
                tag::Q => row.q_thousandths = Some(small(tag, bytes)?),
                tag::EXPIRES => row.expires_at_unix_s = tlv::number(bytes)?,
                tag::DURABLE => durable = tlv::number(bytes)?,
                tag::REFRESHED => row.refreshed_at_unix_s = tlv::number(bytes)?,
                tag::TRANSPORT => {
                    transport = Some(match tlv::number(bytes)? {
                        0 => Transport::Udp,
                        1 => Transport::Tcp,
                        _ => return Err(Error::Field { tag }),
                    });
                }
                tag::REMOTE => remote = Some(read_address(tag, bytes)?),
                tag::LOCAL => local = Some(read_address(tag, bytes)?),
                tag::FLAGS => flags = tlv::number(bytes)?,
                tag::PATH => row.path = bytes,
                tag::INSTANCE => row.instance = bytes,
                tag::REG_ID => row.reg_id = Some(small(tag, bytes)?),
                tag::CALL_ID => row.call_id = bytes,
                tag::CSEQ => row.cseq = small(tag, bytes)?,
                tag::USER_AGENT => row.user_agent = bytes,
                _ => {}
            }
        }
        let missing = |tag| Error::Missing { tag };
        row.contact = contact.ok_or(missing(tag::CONTACT))?;
        row.flow = Flow {
            transport: transport.ok_or(missing(tag::TRANSPORT))?,
            remote: remote.ok_or(missing(tag::REMOTE))?,
            local: local.ok_or(missing(tag::LOCAL))?,
        };
        row.behind_nat = flags & BEHIND_NAT != 0;
        row.use_flow = flags & USE_FLOW != 0;
        Ok((BindingRow::new(aor, &row), durable))
    }
}

/// Before a flow was read.
const NOWHERE: Flow = {
    let ip = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
    Flow {
        transport: Transport::Udp,
        remote: SocketAddr::new(ip, 0),
        local: SocketAddr::new(ip, 0),
    }
};

fn small<T: TryFrom<u64>>(tag: u64, bytes: &[u8]) -> Result<T, Error> {
    T::try_from(tlv::number(bytes)?).map_err(|_| Error::Field { tag })
}

fn write_address(tag: u64, address: SocketAddr, out: &mut Vec<u8>) {
    let port = address.port().to_be_bytes();
    match address {
        SocketAddr::V4(v4) => {
            let mut bytes = [0; 6];
            bytes[..4].copy_from_slice(&v4.ip().octets());
            bytes[4..].copy_from_slice(&port);
            tlv::write_bytes(tag, &bytes, out);
        }
        SocketAddr::V6(v6) => {
            let mut bytes = [0; 22];
            bytes[..16].copy_from_slice(&v6.ip().octets());
            bytes[16..18].copy_from_slice(&port);
            bytes[18..].copy_from_slice(&v6.scope_id().to_be_bytes());
            tlv::write_bytes(tag, &bytes, out);
        }
    }
}

fn read_address(tag: u64, bytes: &[u8]) -> Result<SocketAddr, Error> {
    let number = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    match bytes.len() {
        6 => {
            let octets = [bytes[0], bytes[1], bytes[2], bytes[3]];
            Ok(SocketAddr::new(IpAddr::from(octets), number(4)))
        }
        22 => {
            let mut octets = [0; 16];
            octets.copy_from_slice(&bytes[..16]);
            let scope = u32::from(number(18)) << 16 | u32::from(number(20));
            let address = SocketAddrV6::new(Ipv6Addr::from(octets), number(16), 0, scope);
            Ok(SocketAddr::V6(address))
        }
        _ => Err(Error::Field { tag }),
    }
}
