//! How the bindings of one address of record lie in one block of bytes.
//!
//! ```text
//! record   aor_len u16 | aor | binding*
//! binding  size u16 | id u64 | expires_at u32 | durable_expires_at u32 | refreshed_at u32
//!          | cseq u32 | reg_id u32 | q u16 | flags u8 | transport u8
//!          | contact_len u16 | path_len u16 | call_id_len u16 | instance_len u8 | user_agent_len u8
//!          | remote | local | contact | path | call_id | instance | user_agent
//! address  IPv4: address 4, port u16      IPv6: address 16, port u16, scope u32
//! ```
//!
//! Numbers are little-endian; times are seconds since the Unix epoch (32 bits last until 2106). The
//! size counts the whole binding. An ordinary one of 45 bytes of contact, 40 of Call-ID and 20 of
//! user agent takes 159 bytes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use transaction::{Flow, Transport};

use crate::contact::{CONTACT_BYTES_MAX, INSTANCE_BYTES_MAX, PATH_BYTES_MAX};

/// Longest Call-ID that a binding holds, in bytes.
pub const CALL_ID_BYTES_MAX: usize = 512;
/// Most bytes of User-Agent that a binding keeps; the rest is cut off.
pub const USER_AGENT_BYTES_MAX: usize = 96;

const FIXED: usize = 42;
const NO_Q: u16 = u16::MAX;

const USE_FLOW: u8 = 1;
const BEHIND_NAT: u8 = 1 << 1;
const REMOTE_V6: u8 = 1 << 2;
const LOCAL_V6: u8 = 1 << 3;
const HAS_REG_ID: u8 = 1 << 4;

const V4_SIZE: usize = 6;
const V6_SIZE: usize = 22;

/// What a binding consists of. Empty texts mean that there was none. `Debug` shows the number only,
/// since the rest is users' data.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BindingFields<'a> {
    /// The store's row number.
    pub id: u64,
    /// The contact URI as sent, without brackets and header parameters.
    pub contact: &'a [u8],
    /// `q` in thousandths (RFC 3261 section 20.10), if one was sent.
    pub q_thousandths: Option<u16>,
    /// When it ends, in seconds since the Unix epoch.
    pub expires_at_unix_s: u64,
    /// The end that the store surely holds; 0 if it holds no row of this shape.
    pub durable_expires_at_unix_s: u64,
    /// When it was last registered, in seconds since the Unix epoch; 0 if that is not known any more.
    pub refreshed_at_unix_s: u64,
    /// Where the REGISTER came from.
    pub flow: Flow,
    /// Whether the contact's address is not the one the REGISTER came from.
    pub behind_nat: bool,
    /// Whether requests go to [`Self::flow`] and not where the contact says.
    pub use_flow: bool,
    /// Path values, joined with `, ` (RFC 3327).
    pub path: &'a [u8],
    /// `+sip.instance` as sent, quotes included (RFC 5626).
    pub instance: &'a [u8],
    /// `reg-id`, where there is an instance too (RFC 5626).
    pub reg_id: Option<u32>,
    /// Call-ID of the REGISTER that last touched it.
    pub call_id: &'a [u8],
    /// CSeq number of that REGISTER.
    pub cseq: u32,
    /// User-Agent of that REGISTER, shortened.
    pub user_agent: &'a [u8],
}

impl fmt::Debug for BindingFields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BindingFields")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// A binding with its address of record, owned: what the store keeps.
#[derive(Clone, PartialEq, Eq)]
pub struct BindingRow {
    /// The address of record, as [`sip::Uri::push_aor`] writes it.
    pub aor: Box<[u8]>,
    /// See [`BindingFields::id`].
    pub id: u64,
    /// See [`BindingFields::contact`].
    pub contact: Box<[u8]>,
    /// See [`BindingFields::q_thousandths`].
    pub q_thousandths: Option<u16>,
    /// See [`BindingFields::expires_at_unix_s`].
    pub expires_at_unix_s: u64,
    /// See [`BindingFields::refreshed_at_unix_s`].
    pub refreshed_at_unix_s: u64,
    /// See [`BindingFields::flow`].
    pub flow: Flow,
    /// See [`BindingFields::behind_nat`].
    pub behind_nat: bool,
    /// See [`BindingFields::use_flow`].
    pub use_flow: bool,
    /// See [`BindingFields::path`].
    pub path: Box<[u8]>,
    /// See [`BindingFields::instance`].
    pub instance: Box<[u8]>,
    /// See [`BindingFields::reg_id`].
    pub reg_id: Option<u32>,
    /// See [`BindingFields::call_id`].
    pub call_id: Box<[u8]>,
    /// See [`BindingFields::cseq`].
    pub cseq: u32,
    /// See [`BindingFields::user_agent`].
    pub user_agent: Box<[u8]>,
}

impl fmt::Debug for BindingRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BindingRow")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl BindingRow {
    /// The row of a binding.
    pub fn new(aor: &[u8], fields: &BindingFields<'_>) -> BindingRow {
        BindingRow {
            aor: aor.into(),
            id: fields.id,
            contact: fields.contact.into(),
            q_thousandths: fields.q_thousandths,
            expires_at_unix_s: fields.expires_at_unix_s,
            refreshed_at_unix_s: fields.refreshed_at_unix_s,
            flow: fields.flow,
            behind_nat: fields.behind_nat,
            use_flow: fields.use_flow,
            path: fields.path.into(),
            instance: fields.instance.into(),
            reg_id: fields.reg_id,
            call_id: fields.call_id.into(),
            cseq: fields.cseq,
            user_agent: fields.user_agent.into(),
        }
    }

    /// The binding of a row that the store holds.
    pub fn fields(&self) -> BindingFields<'_> {
        BindingFields {
            id: self.id,
            contact: &self.contact,
            q_thousandths: self.q_thousandths,
            expires_at_unix_s: self.expires_at_unix_s,
            durable_expires_at_unix_s: self.expires_at_unix_s,
            refreshed_at_unix_s: self.refreshed_at_unix_s,
            flow: self.flow,
            behind_nat: self.behind_nat,
            use_flow: self.use_flow,
            path: &self.path,
            instance: &self.instance,
            reg_id: self.reg_id,
            call_id: &self.call_id,
            cseq: self.cseq,
            user_agent: &self.user_agent,
        }
    }
}

/// One binding in a record, read on demand.
#[derive(Clone, Copy)]
pub struct BindingView<'a> {
    bytes: &'a [u8],
}

impl fmt::Debug for BindingView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BindingView")
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

/// Where the texts of a binding begin and end.
struct Borders {
    contact: usize,
    path: usize,
    call_id: usize,
    instance: usize,
    user_agent: usize,
}

impl<'a> BindingView<'a> {
    fn u16_at(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    fn u32_at(&self, at: usize) -> u32 {
        u32::from(self.u16_at(at)) | u32::from(self.u16_at(at + 2)) << 16
    }

    fn flag(&self, flag: u8) -> bool {
        self.bytes[32] & flag != 0
    }

    fn borders(&self) -> Borders {
        let size = |flag| if self.flag(flag) { V6_SIZE } else { V4_SIZE };
        let contact = FIXED + size(REMOTE_V6) + size(LOCAL_V6);
        let path = contact + usize::from(self.u16_at(34));
        let call_id = path + usize::from(self.u16_at(36));
        let instance = call_id + usize::from(self.u16_at(38));
        Borders {
            contact,
            path,
            call_id,
            instance,
            user_agent: instance + usize::from(self.bytes[40]),
        }
    }

    /// See [`BindingFields::id`].
    pub fn id(&self) -> u64 {
        u64::from(self.u32_at(2)) | u64::from(self.u32_at(6)) << 32
    }

    /// See [`BindingFields::expires_at_unix_s`].
    pub fn expires_at_unix_s(&self) -> u64 {
        u64::from(self.u32_at(10))
    }

    /// See [`BindingFields::durable_expires_at_unix_s`].
    pub fn durable_expires_at_unix_s(&self) -> u64 {
        u64::from(self.u32_at(14))
    }

    /// See [`BindingFields::refreshed_at_unix_s`].
    pub fn refreshed_at_unix_s(&self) -> u64 {
        u64::from(self.u32_at(18))
    }

    /// See [`BindingFields::cseq`].
    pub fn cseq(&self) -> u32 {
        self.u32_at(22)
    }

    /// See [`BindingFields::reg_id`].
    pub fn reg_id(&self) -> Option<u32> {
        self.flag(HAS_REG_ID).then(|| self.u32_at(26))
    }

    /// See [`BindingFields::q_thousandths`].
    pub fn q_thousandths(&self) -> Option<u16> {
        Some(self.u16_at(30)).filter(|&q| q != NO_Q)
    }

    /// See [`BindingFields::use_flow`].
    pub fn use_flow(&self) -> bool {
        self.flag(USE_FLOW)
    }

    /// See [`BindingFields::behind_nat`].
    pub fn behind_nat(&self) -> bool {
        self.flag(BEHIND_NAT)
    }

    /// See [`BindingFields::flow`].
    pub fn flow(&self) -> Flow {
        let transport = if self.bytes[33] == 0 {
            Transport::Udp
        } else {
            Transport::Tcp
        };
        let (remote, next) = self.address(FIXED, REMOTE_V6);
        let (local, _) = self.address(next, LOCAL_V6);
        Flow {
            transport,
            remote,
            local,
        }
    }

    fn address(&self, at: usize, flag: u8) -> (SocketAddr, usize) {
        if self.flag(flag) {
            let mut octets = [0; 16];
            octets.copy_from_slice(&self.bytes[at..at + 16]);
            let (port, scope) = (self.u16_at(at + 16), self.u32_at(at + 18));
            let address = SocketAddrV6::new(Ipv6Addr::from(octets), port, 0, scope);
            return (SocketAddr::V6(address), at + V6_SIZE);
        }
        let mut octets = [0; 4];
        octets.copy_from_slice(&self.bytes[at..at + 4]);
        let ip = IpAddr::V4(Ipv4Addr::from(octets));
        (SocketAddr::new(ip, self.u16_at(at + 4)), at + V4_SIZE)
    }

    /// See [`BindingFields::contact`].
    pub fn contact(&self) -> &'a [u8] {
        let borders = self.borders();
        &self.bytes[borders.contact..borders.path]
    }

    /// See [`BindingFields::path`].
    pub fn path(&self) -> &'a [u8] {
        let borders = self.borders();
        &self.bytes[borders.path..borders.call_id]
    }

    /// See [`BindingFields::call_id`].
    pub fn call_id(&self) -> &'a [u8] {
        let borders = self.borders();
        &self.bytes[borders.call_id..borders.instance]
    }

    /// See [`BindingFields::instance`].
    pub fn instance(&self) -> &'a [u8] {
        let borders = self.borders();
        &self.bytes[borders.instance..borders.user_agent]
    }

    /// See [`BindingFields::user_agent`].
    pub fn user_agent(&self) -> &'a [u8] {
        &self.bytes[self.borders().user_agent..]
    }

    /// Whether it is still in force at `now_unix_s`.
    pub fn is_live(&self, now_unix_s: u64) -> bool {
        self.expires_at_unix_s() > now_unix_s
    }

    /// All of it.
    pub fn fields(&self) -> BindingFields<'a> {
        BindingFields {
            id: self.id(),
            contact: self.contact(),
            q_thousandths: self.q_thousandths(),
            expires_at_unix_s: self.expires_at_unix_s(),
            durable_expires_at_unix_s: self.durable_expires_at_unix_s(),
            refreshed_at_unix_s: self.refreshed_at_unix_s(),
            flow: self.flow(),
            behind_nat: self.behind_nat(),
            use_flow: self.use_flow(),
            path: self.path(),
            instance: self.instance(),
            reg_id: self.reg_id(),
            call_id: self.call_id(),
            cseq: self.cseq(),
            user_agent: self.user_agent(),
        }
    }

    /// The binding's bytes, to be copied into another record.
    pub(crate) fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// The address of record of a record.
pub(crate) fn aor(record: &[u8]) -> &[u8] {
    match record {
        [low, high, rest @ ..] => &rest[..usize::from(u16::from_le_bytes([*low, *high]))],
        _ => &[],
    }
}

/// The bindings of a record, in the order in which they came.
pub(crate) fn bindings(record: &[u8]) -> impl Iterator<Item = BindingView<'_>> + Clone {
    let mut rest = record.get(2 + aor(record).len()..).unwrap_or_default();
    std::iter::from_fn(move || {
        let size = usize::from(u16::from_le_bytes([*rest.first()?, *rest.get(1)?]));
        let (bytes, next) = rest.split_at(size);
        rest = next;
        Some(BindingView { bytes })
    })
}

/// Begins a record in `out`, which is cleared.
pub(crate) fn begin(aor: &[u8], out: &mut Vec<u8>) {
    out.clear();
    push_u16(out, aor.len());
    out.extend_from_slice(aor);
}

fn push_u16(out: &mut Vec<u8>, value: usize) {
    let value = u16::try_from(value).expect("texts are cut to their limits before");
    out.extend_from_slice(&value.to_le_bytes());
}

fn push_time(out: &mut Vec<u8>, unix_s: u64) {
    out.extend_from_slice(&u32::try_from(unix_s).unwrap_or(u32::MAX).to_le_bytes());
}

fn push_address(out: &mut Vec<u8>, address: SocketAddr) {
    match address {
        SocketAddr::V4(v4) => {
            out.extend_from_slice(&v4.ip().octets());
            out.extend_from_slice(&v4.port().to_le_bytes());
        }
        SocketAddr::V6(v6) => {
            out.extend_from_slice(&v6.ip().octets());
            out.extend_from_slice(&v6.port().to_le_bytes());
            out.extend_from_slice(&v6.scope_id().to_le_bytes());
        }
    }
}

/// Appends a binding; texts beyond their limits are cut, so a caller checks those that matter.
pub(crate) fn push(fields: &BindingFields<'_>, out: &mut Vec<u8>) {
    let cut = |text: &'_ [u8], size_bytes_max: usize| text.len().min(size_bytes_max);
    let contact = &fields.contact[..cut(fields.contact, CONTACT_BYTES_MAX)];
    let path = &fields.path[..cut(fields.path, PATH_BYTES_MAX)];
    let call_id = &fields.call_id[..cut(fields.call_id, CALL_ID_BYTES_MAX)];
    let instance = &fields.instance[..cut(fields.instance, INSTANCE_BYTES_MAX)];
    let user_agent = &fields.user_agent[..cut(fields.user_agent, USER_AGENT_BYTES_MAX)];
    let flags = [
        (fields.use_flow, USE_FLOW),
        (fields.behind_nat, BEHIND_NAT),
        (fields.flow.remote.is_ipv6(), REMOTE_V6),
        (fields.flow.local.is_ipv6(), LOCAL_V6),
        (fields.reg_id.is_some(), HAS_REG_ID),
    ];
    let start = out.len();
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&fields.id.to_le_bytes());
    push_time(out, fields.expires_at_unix_s);
    push_time(out, fields.durable_expires_at_unix_s);
    push_time(out, fields.refreshed_at_unix_s);
    out.extend_from_slice(&fields.cseq.to_le_bytes());
    out.extend_from_slice(&fields.reg_id.unwrap_or(0).to_le_bytes());
    out.extend_from_slice(&fields.q_thousandths.unwrap_or(NO_Q).to_le_bytes());
    out.push(
        flags
            .iter()
            .map(|&(is_set, flag)| if is_set { flag } else { 0 })
            .sum(),
    );
    out.push(match fields.flow.transport {
        Transport::Udp => 0,
        Transport::Tcp => 1,
    });
    push_u16(out, contact.len());
    push_u16(out, path.len());
    push_u16(out, call_id.len());
    out.push(instance.len() as u8);
    out.push(user_agent.len() as u8);
    debug_assert_eq!(out.len() - start, FIXED);
    push_address(out, fields.flow.remote);
    push_address(out, fields.flow.local);
    for text in [contact, path, call_id, instance, user_agent] {
        out.extend_from_slice(text);
    }
    let size = u16::try_from(out.len() - start).expect("the limits of the texts add up to less");
    out[start..start + 2].copy_from_slice(&size.to_le_bytes());
}

/// A flow as a record gives it back: without the flow label that IPv6 has besides.
pub(crate) fn plain(flow: &Flow) -> Flow {
    let plain = |address: SocketAddr| match address {
        SocketAddr::V6(v6) => {
            SocketAddr::V6(SocketAddrV6::new(*v6.ip(), v6.port(), 0, v6.scope_id()))
        }
        v4 => v4,
    };
    Flow {
        transport: flow.transport,
        remote: plain(flow.remote),
        local: plain(flow.local),
    }
}

/// Writes the durable end of the binding `id`, if `settle` names one for it. In place.
pub(crate) fn settle(record: &mut [u8], id: u64, settle: impl Fn(BindingView<'_>) -> Option<u64>) {
    let mut at = 2 + aor(record).len();
    while at + 2 <= record.len() {
        let size = usize::from(u16::from_le_bytes([record[at], record[at + 1]]));
        let view = BindingView {
            bytes: &record[at..at + size],
        };
        if view.id() == id {
            if let Some(unix_s) = settle(view) {
                let unix_s = u32::try_from(unix_s).unwrap_or(u32::MAX);
                record[at + 14..at + 18].copy_from_slice(&unix_s.to_le_bytes());
            }
            return;
        }
        at += size;
    }
}
