//! Writing RTCP. Each function appends one packet; a datagram is a report and what follows it (RFC 3550 section 6.1).

use super::kind;
use super::{Item, ReportBlock, SenderInfo};
use crate::{Error, Part, Ssrc};

/// What five bits can count.
const COUNT_MAX: usize = 31;
/// What the length of a text can say.
const TEXT_BYTES_MAX: usize = 255;

/// Appends an SR (section 6.4.1).
///
/// # Errors
/// `TooMany` of more than 31 blocks.
pub fn push_sender_report(
    ssrc: Ssrc,
    info: &SenderInfo,
    blocks: &[ReportBlock],
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let start = begin(kind::SENDER_REPORT, blocks.len(), Part::ReportBlocks, out)?;
    out.extend_from_slice(&ssrc.0.to_be_bytes());
    info.push(out);
    push_blocks(blocks, out);
    end(start, out);
    Ok(())
}

/// Appends an RR (section 6.4.2), which may have no blocks.
///
/// # Errors
/// `TooMany` of more than 31 blocks.
pub fn push_receiver_report(
    ssrc: Ssrc,
    blocks: &[ReportBlock],
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let start = begin(kind::RECEIVER_REPORT, blocks.len(), Part::ReportBlocks, out)?;
    out.extend_from_slice(&ssrc.0.to_be_bytes());
    push_blocks(blocks, out);
    end(start, out);
    Ok(())
}

/// Appends an SDES with one chunk that holds the canonical name, which every compound packet has (section 6.5.1).
///
/// # Errors
/// `TooMany` of a name of more than 255 bytes.
pub fn push_source_description(ssrc: Ssrc, cname: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    if cname.len() > TEXT_BYTES_MAX {
        return Err(Error::TooMany(Part::Chunks));
    }
    let start = begin(kind::SOURCE_DESCRIPTION, 1, Part::Chunks, out)?;
    out.extend_from_slice(&ssrc.0.to_be_bytes());
    out.extend_from_slice(&[Item::CNAME, cname.len() as u8]);
    out.extend_from_slice(cname);
    // At least one zero ends the chunk.
    out.push(0);
    end(start, out);
    Ok(())
}

/// Appends a BYE (section 6.6), with a reason unless it is empty.
///
/// # Errors
/// `TooMany` of more than 31 sources or a reason of more than 255 bytes.
pub fn push_bye(ssrcs: &[Ssrc], reason: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    if reason.len() > TEXT_BYTES_MAX {
        return Err(Error::TooMany(Part::Bye));
    }
    let start = begin(kind::BYE, ssrcs.len(), Part::Bye, out)?;
    for ssrc in ssrcs {
        out.extend_from_slice(&ssrc.0.to_be_bytes());
    }
    if !reason.is_empty() {
        out.push(reason.len() as u8);
        out.extend_from_slice(reason);
    }
    end(start, out);
    Ok(())
}

fn push_blocks(blocks: &[ReportBlock], out: &mut Vec<u8>) {
    for block in blocks {
        out.extend_from_slice(&block.to_bytes());
    }
}

/// A header without its length. Returns where it begins.
fn begin(kind: u8, count: usize, part: Part, out: &mut Vec<u8>) -> Result<usize, Error> {
    if count > COUNT_MAX {
        return Err(Error::TooMany(part));
    }
    let start = out.len();
    out.extend_from_slice(&[0x80 | count as u8, kind, 0, 0]);
    Ok(start)
}

/// Fills the packet up to a whole number of words, and notes them less one in its header.
fn end(start: usize, out: &mut Vec<u8>) {
    while !(out.len() - start).is_multiple_of(4) {
        out.push(0);
    }
    let words = ((out.len() - start) / 4 - 1) as u16;
    out[start + 2..start + 4].copy_from_slice(&words.to_be_bytes());
}
