//! Bindings of the registrar as rows of the store, and back.

use std::net::SocketAddr;

use registrar::Change;
use store::{BindingChange, BindingId, BindingRefresh, DeferredChange};
use transaction::{Flow, Transport};

/// A change as the store takes it when somebody waits for it.
pub(crate) fn durable(change: Change) -> BindingChange {
    match change {
        Change::Put(row) => BindingChange::Put(row_of(*row)),
        Change::Refresh {
            id,
            expires_at_unix_s,
            call_id,
            cseq,
        } => BindingChange::Refresh(refresh(id, expires_at_unix_s, call_id, cseq)),
        Change::Delete { id } => BindingChange::Delete(BindingId(id as i64)),
    }
}

/// A change as the store takes it when nobody waits for it.
pub(crate) fn deferred(change: Change) -> Option<DeferredChange> {
    match change {
        // The registrar has every put waited for.
        Change::Put(_) => None,
        Change::Refresh {
            id,
            expires_at_unix_s,
            call_id,
            cseq,
        } => Some(DeferredChange::Refresh(refresh(
            id,
            expires_at_unix_s,
            call_id,
            cseq,
        ))),
        Change::Delete { id } => Some(DeferredChange::Delete(BindingId(id as i64))),
    }
}

fn refresh(
    id: u64,
    expires_at_unix_s: u64,
    call_id: Option<Box<[u8]>>,
    cseq: u32,
) -> BindingRefresh {
    BindingRefresh {
        id: BindingId(id as i64),
        expires_at_unix_s: expires_at_unix_s as i64,
        cseq,
        call_id,
    }
}

fn row_of(row: registrar::BindingRow) -> store::BindingRow {
    store::BindingRow {
        id: BindingId(row.id as i64),
        aor: row.aor.into_vec(),
        contact: row.contact.into_vec(),
        received: row.flow.remote.to_string().into_bytes(),
        flow: flow_text(&row.flow, row.use_flow, row.behind_nat),
        path: row.path.into_vec(),
        instance: row.instance.into_vec(),
        reg_id: row.reg_id,
        q_thousandths: row.q_thousandths,
        expires_at_unix_s: row.expires_at_unix_s as i64,
        call_id: row.call_id.into_vec(),
        cseq: row.cseq,
        user_agent: row.user_agent.into_vec(),
        methods: Vec::new(),
        params: Vec::new(),
    }
}

/// `udp 192.0.2.1:5060`, with ` flow` when requests go where the REGISTER came from, and ` nat` when its
/// contact said otherwise.
fn flow_text(flow: &Flow, use_flow: bool, behind_nat: bool) -> Vec<u8> {
    let transport = String::from_utf8_lossy(flow.transport.uri_token());
    let by_flow = if use_flow { " flow" } else { "" };
    let nat = if behind_nat { " nat" } else { "" };
    format!("{transport} {}{by_flow}{nat}", flow.local).into_bytes()
}

/// A row as the registrar takes it; `None` if its flow cannot be read back.
pub(crate) fn restored(row: store::BindingRow) -> Option<registrar::BindingRow> {
    let remote: SocketAddr = std::str::from_utf8(&row.received).ok()?.parse().ok()?;
    let text = std::str::from_utf8(&row.flow).ok()?;
    let mut words = text.split(' ');
    let transport = Transport::parse(words.next()?.as_bytes())?;
    let local: SocketAddr = words.next()?.parse().ok()?;
    let rest: Vec<&str> = words.collect();
    let expires_at_unix_s = u64::try_from(row.expires_at_unix_s).ok()?;
    Some(registrar::BindingRow {
        aor: row.aor.into(),
        id: u64::try_from(row.id.0).ok()?,
        contact: row.contact.into(),
        q_thousandths: row.q_thousandths,
        expires_at_unix_s,
        refreshed_at_unix_s: 0,
        flow: Flow {
            transport,
            remote,
            local,
        },
        behind_nat: rest.contains(&"nat"),
        use_flow: rest.contains(&"flow"),
        path: row.path.into(),
        instance: row.instance.into(),
        reg_id: row.reg_id,
        call_id: row.call_id.into(),
        cseq: row.cseq,
        user_agent: row.user_agent.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_comes_back_from_its_row_as_it_was() {
        let row = registrar::BindingRow {
            aor: (*b"alice@example.org").into(),
            id: 7,
            contact: (*b"sip:alice@10.0.0.1").into(),
            q_thousandths: Some(500),
            expires_at_unix_s: 1_000,
            refreshed_at_unix_s: 0,
            flow: Flow {
                transport: Transport::Tcp,
                remote: "[2001:db8::1]:40000".parse().unwrap(),
                local: "[2001:db8::2]:5060".parse().unwrap(),
            },
            behind_nat: true,
            use_flow: true,
            path: (*b"<sip:p;lr>").into(),
            instance: (*b"<urn:uuid:1>").into(),
            reg_id: Some(1),
            call_id: (*b"call\xff").into(),
            cseq: 3,
            user_agent: (*b"phone").into(),
        };
        assert_eq!(restored(row_of(row.clone())), Some(row));
    }
}
