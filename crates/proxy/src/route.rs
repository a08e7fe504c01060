//! Route preprocessing (RFC 3261 section 16.4) and the next hop (section 16.6 steps 6 and 7).

use sip::{Envelope, HeaderName, Message, NameAddr, Span, Uri};
use transaction::Transport;

use crate::cookie::{self, Direction, Ends};
use crate::settings::Settings;
use crate::target::NextHop;

/// What the Route headers of a request say, our own values taken off.
#[derive(Debug, Clone, Copy)]
pub struct Preprocessed<'a> {
    /// The Request-URI to go by: the last Route value if a strict router put ours into the request.
    pub request_uri: &'a [u8],
    /// How many of the first Route values are ours.
    pub popped: usize,
    /// Where the Route value lies that became the Request-URI, to be taken out.
    pub last_route: Option<Span>,
    /// The first Route value that is not ours.
    pub next_route: Option<NameAddr<'a>>,
    /// The ends of the dialog and the way through it, when a cookie of ours was there and is good.
    pub dialog: Option<(Ends, Direction)>,
}

/// Reads the Route headers.
///
/// # Errors
/// The header that cannot be read.
pub fn preprocess<'a>(
    settings: &Settings,
    request: &Message<'a>,
    envelope: &Envelope<'a>,
) -> Result<Preprocessed<'a>, sip::Defect> {
    let malformed = sip::Defect::Malformed(HeaderName::Route);
    let mut found = Preprocessed {
        request_uri: request.request_uri(),
        popped: 0,
        last_route: None,
        next_route: None,
        dialog: None,
    };
    if !request.has(HeaderName::Route) {
        return Ok(found);
    }
    // Section 16.4: a strict router has put what we wrote into Record-Route into the Request-URI.
    let mut our_cookie = None;
    if memchr::memmem::find(request.request_uri(), b";hl=").is_some()
        && let Ok(uri) = Uri::parse(request.request_uri())
        && let Some(text) = uri.params.value(cookie::PARAMETER)
        && uri.is_sip()
        && settings.is_self(&uri.host, uri.port_or_default())
        && let Some(last) = request.values(HeaderName::Route).last()
    {
        our_cookie = Some(text);
        found.request_uri = NameAddr::parse(last.bytes).ok_or(malformed)?.uri;
        found.last_route = Some(last.span);
    }
    for value in request.values(HeaderName::Route) {
        if Some(value.span) == found.last_route {
            break;
        }
        // Section 20.34: name-addr, never a bare URI.
        let route = NameAddr::parse(value.bytes)
            .filter(|_| value.bytes.contains(&b'<'))
            .ok_or(malformed)?;
        let uri = route.parse_uri().map_err(|_| malformed)?;
        if found.next_route.is_some() {
            continue;
        }
        let text = uri.params.value(cookie::PARAMETER);
        // A second value of ours goes too if it is the other half of the same passage.
        let is_ours = is_our_route(settings, &uri)
            && (found.popped == 0 || text.is_some() && text == our_cookie);
        if !is_ours {
            found.next_route = Some(route);
            continue;
        }
        found.popped += 1;
        our_cookie = our_cookie.or(text);
    }
    if let Some(text) = our_cookie {
        found.dialog = cookie::read(
            settings.cookie_secret,
            envelope.call_id,
            envelope.from_tag.unwrap_or_default(),
            envelope.to_tag.unwrap_or_default(),
            text,
        );
    }
    Ok(found)
}

/// Whether a Route URI means this edge: one of its addresses, or one of its domains without a user.
fn is_our_route(settings: &Settings, uri: &Uri<'_>) -> bool {
    if !uri.is_sip() {
        return false;
    }
    if settings.is_self(&uri.host, uri.port_or_default()) {
        return true;
    }
    uri.user.is_none()
        && settings
            .domains
            .iter()
            .any(|domain| domain.eq_ignore_ascii_case(uri.host.bytes))
        && settings
            .listeners
            .iter()
            .any(|listener| listener.local.port() == uri.port_or_default())
}

/// Why a URI leads nowhere from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unroutable {
    /// A scheme that is not routed, or `sips`, which needs TLS on every hop.
    Scheme,
    /// A transport that is not there.
    Transport,
    /// The URI cannot be read.
    Syntax,
}

/// Where a URI leads (RFC 3263 section 4, without the look-ups).
///
/// # Errors
/// If it leads nowhere from here.
pub fn next_hop<'a>(uri: &Uri<'a>) -> Result<NextHop<'a>, Unroutable> {
    if uri.scheme != sip::Scheme::Sip {
        return Err(Unroutable::Scheme);
    }
    let transport = match uri.params.value(b"transport") {
        None => None,
        Some(token) => Some(Transport::parse(token).ok_or(Unroutable::Transport)?),
    };
    let host = match uri.params.value(b"maddr") {
        None => uri.host,
        Some(maddr) => sip::Host::parse(maddr).map_err(|_| Unroutable::Syntax)?,
    };
    match host.address {
        Some(address) => {
            let address = std::net::SocketAddr::new(address, uri.port_or_default());
            Ok(NextHop::Address(
                transport.unwrap_or(Transport::Udp),
                address,
            ))
        }
        None => Ok(NextHop::Name {
            host: host.bytes,
            port: uri.port,
            transport,
        }),
    }
}
