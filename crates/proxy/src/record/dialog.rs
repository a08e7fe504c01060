//! The record of a call.

use records::Error;
use records::tlv;
use std::net::SocketAddr;
use transaction::{Time, Transport};

use super::codec::{
    each, first, nest, push_address, push_transport, small, take_address, take_transport,
};
use super::media::AnchorRecord;
use crate::anchor::Anchor;
use crate::calls::{Call, Stage};

/// What a call has for its record.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CallRecord {
    /// What it is known by, over takeovers too; 0 if it has no record.
    pub(crate) number: u64,
    /// Whether the journal knows that it was touched.
    pub(crate) is_noted: bool,
    /// What stands for the value that was written last.
    pub(crate) hash: u64,
}

mod tag {
    pub(super) const HASH: u64 = 1;
    pub(super) const FROM: u64 = 2;
    pub(super) const TO: u64 = 3;
    pub(super) const STAGE: u64 = 4;
    pub(super) const STARTED: u64 = 5;
    pub(super) const ANSWERED: u64 = 6;
    pub(super) const DIALOG: u64 = 7;
    pub(super) const POOL: u64 = 8;
    pub(super) const TARGET: u64 = 9;
    pub(super) const MEDIA: u64 = 10;
}

impl Call {
    /// Appends its record. Times are written as those of day, since clocks of processes are not compared.
    pub(super) fn write_record(
        &self,
        (now, unix_ms): (Time, u64),
        anchor: Option<&Anchor>,
        pool: &[u8],
        out: &mut Vec<u8>,
    ) {
        let unix_ms_of = |time: Time| unix_ms.saturating_sub(now.ms_since(time));
        tlv::write_number(tag::HASH, self.hash(), out);
        tlv::write_bytes(tag::FROM, &self.from, out);
        tlv::write_bytes(tag::TO, &self.to, out);
        let stage = match self.stage {
            Stage::Calling => 0,
            Stage::Ringing => 1,
            Stage::Answered => 2,
        };
        tlv::write_number(tag::STAGE, stage, out);
        tlv::write_number(tag::STARTED, unix_ms_of(self.started), out);
        if let Some(answered) = self.answered {
            tlv::write_number(tag::ANSWERED, unix_ms_of(answered), out);
        }
        for dialog in self.all_dialogs() {
            nest(tag::DIALOG, out, |out| {
                out.extend_from_slice(&dialog.tag.to_be_bytes());
                out.push(u8::from(dialog.is_over));
            });
        }
        if let Some((_, transport, remote)) = self.place {
            tlv::write_bytes(tag::POOL, pool, out);
            nest(tag::TARGET, out, |out| {
                push_transport(transport, out);
                push_address(remote, out);
            });
        }
        if let Some(anchor) = anchor {
            nest(tag::MEDIA, out, |out| anchor.write_record(out));
        }
    }
}

/// The record [`super::DIALOG`], read.
#[derive(Debug)]
pub(super) struct DialogRecord<'a> {
    pub(super) hash: u64,
    pub(super) from: &'a [u8],
    pub(super) to: &'a [u8],
    pub(super) stage: Stage,
    pub(super) started_unix_ms: u64,
    pub(super) answered_unix_ms: Option<u64>,
    /// Callees' tags, and whether their dialogs are over.
    pub(super) dialogs: Vec<(u64, bool)>,
    pub(super) place: Option<(&'a [u8], Transport, SocketAddr)>,
    pub(super) media: Option<AnchorRecord>,
}

impl<'a> DialogRecord<'a> {
    pub(super) fn read(value: &'a [u8]) -> Result<DialogRecord<'a>, Error> {
        let (mut hash, mut pool, mut target) = (None, None, None);
        let mut found = DialogRecord {
            hash: 0,
            from: b"",
            to: b"",
            stage: Stage::Calling,
            started_unix_ms: 0,
            answered_unix_ms: None,
            dialogs: Vec::new(),
            place: None,
            media: None,
        };
        each(value, |tag, bytes| {
            match tag {
                tag::HASH => hash = Some(tlv::number(bytes)?),
                tag::FROM => found.from = bytes,
                tag::TO => found.to = bytes,
                tag::STAGE => {
                    found.stage = match small(tag, bytes)? {
                        0u8 => Stage::Calling,
                        1 => Stage::Ringing,
                        _ => Stage::Answered,
                    }
                }
                tag::STARTED => found.started_unix_ms = tlv::number(bytes)?,
                tag::ANSWERED => found.answered_unix_ms = Some(tlv::number(bytes)?),
                tag::DIALOG => {
                    let (tag, rest) = first(bytes)?;
                    let ([is_over], _) = first(rest)?;
                    found.dialogs.push((u64::from_be_bytes(tag), is_over != 0));
                }
                tag::POOL => pool = Some(bytes),
                tag::TARGET => {
                    let (transport, rest) = take_transport(tag, bytes)?;
                    target = Some((transport, take_address(tag, rest)?.0));
                }
                tag::MEDIA => found.media = Some(AnchorRecord::read(bytes)?),
                _ => {}
            }
            Ok(())
        })?;
        found.hash = hash.ok_or(Error::Missing { tag: tag::HASH })?;
        found.place = pool
            .zip(target)
            .map(|(pool, (transport, remote))| (pool, transport, remote));
        Ok(found)
    }
}
