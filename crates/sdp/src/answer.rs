//! An answer beside its offer (RFC 3264 section 6).

use crate::error::Error;
use crate::index::Description;
use crate::media::{Kind, Media};

/// Checks that `answer` can be the answer to `offer`: as many m-lines, each of the kind and the transport
/// of the one that it answers, and none brought to life that was offered with port 0 (a line with
/// `a=bundle-only` may be, where both descriptions have a BUNDLE group).
///
/// Protocols may differ within a transport: an end without SRTP answers RTP/SAVP with RTP/AVP, and others
/// put up with it.
///
/// # Errors
/// The first difference.
pub fn check_answer(offer: &Description<'_>, answer: &Description<'_>) -> Result<(), Error> {
    if offer.media_count() != answer.media_count() {
        return Err(Error::MediaCount {
            offered: offer.media_count() as u8,
            answered: answer.media_count() as u8,
        });
    }
    let is_bundled = offer.has_bundle() && answer.has_bundle();
    for (offered, answered) in offer.media().zip(answer.media()) {
        let media = offered.number() as u8;
        if !is_same_kind(&offered, &answered) {
            return Err(Error::KindChanged { media });
        }
        if answered.port() == 0 {
            continue;
        }
        if offered.port() == 0 && !(is_bundled && offered.is_bundle_only()) {
            return Err(Error::Revived { media });
        }
        if offered.transport() != answered.transport() {
            return Err(Error::TransportChanged { media });
        }
    }
    Ok(())
}

fn is_same_kind(offered: &Media<'_>, answered: &Media<'_>) -> bool {
    match (offered.kind(), answered.kind()) {
        (Kind::Other, Kind::Other) => {
            (offered.kind_bytes()).eq_ignore_ascii_case(answered.kind_bytes())
        }
        (offered, answered) => offered == answered,
    }
}
