//! Which requests are let in, and where they go (RFC 3261 sections 16.3 to 16.5).

use proxy::{Forward, ForwardAck, Preprocessed, Targets, loops, preprocess};
use sip::{HeaderName, Method, Scheme, Uri};
use transaction::Flow;
use transaction::layer::ServerKey;

use crate::auth::{self, Cause, Refusal};
use crate::directory::Directory;
use crate::edge::{Edge, Input, surroundings};
use crate::output::Output;
use crate::sources::Offence;

/// Where a request is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Destination {
    /// Along its dialog or to a foreign place: the Request-URI decides.
    Uri,
    /// To a user of ours, whose address-of-record is in `Edge::aor`.
    User,
    /// To the edge itself.
    Edge,
}

impl Edge {
    /// Admits a request that no transaction knows (section 16.3).
    pub(crate) fn admit<D: Directory>(
        &mut self,
        input: &Input<'_, '_>,
        key: ServerKey,
        directory: &mut D,
        output: &mut Output,
    ) {
        let request = input.request;
        if self.layer.is_full() {
            self.counted.add("transactions-full");
            return self.refuse_for_now(input, output);
        }
        let Ok(routes) = preprocess(&input.settings.proxy, request, input.envelope) else {
            self.counted.add("malformed-header");
            self.annoyed(input, Offence::Malformed, directory, output);
            return self.refuse_with(input, 400, "Malformed Route", &mut output.outbox);
        };
        let Ok(uri) = sip::check::request_uri(routes.request_uri) else {
            return self.refuse_with(input, 400, "Bad Request-URI", &mut output.outbox);
        };
        if matches!(uri.scheme, Scheme::Other | Scheme::Sips) {
            return self.refuse(input, 416, &mut output.outbox);
        }
        if self.refuses_extension(input, output) {
            return;
        }
        let destination = self.destination(input, &routes, &uri);
        let source = input.flow.remote.ip();
        let is_new = !routes
            .dialog
            .is_some_and(|(ends, direction)| ends.vouches_for(direction, source));
        if self.is_draining && is_new && input.envelope.to_tag.is_none() {
            self.counted.add("draining");
            return self.refuse_for_now(input, output);
        }
        let begins = is_new && input.envelope.to_tag.is_none();
        if is_new && !self.is_within_rate(input, directory, output)
            || begins && !self.has_room(input, directory, output)
        {
            return;
        }
        if request.method() == Some(Method::Register) && destination != Destination::Uri {
            return self.register(input, key, directory, output);
        }
        if destination == Destination::Edge {
            self.annoyed(input, Offence::Options, directory, output);
            return self.answer_for_edge(input, output);
        }
        // Section 16.3 step 3 is about forwarding: what is asked of us may have come this far.
        if request.number(HeaderName::MaxForwards, 255) == Ok(Some(0)) {
            self.counted.add("max-forwards");
            return self.refuse(input, 483, &mut output.outbox);
        }
        let loop_part =
            loops::loop_part(input.settings.proxy.cookie_secret, request, input.envelope);
        if loops::is_loop(&input.settings.proxy, request, input.envelope, loop_part) {
            self.counted.add("loop");
            return self.refuse(input, 482, &mut output.outbox);
        }
        if is_new && !self.is_let_through(input, destination, directory, output)
            || begins && !self.may_begin(input, directory, output)
        {
            return;
        }
        self.route(
            input,
            key,
            (&routes, &uri, destination, loop_part),
            directory,
            output,
        );
    }

    /// Extensions that a proxy would have to know (section 16.3 step 5): there is none.
    fn refuses_extension(&mut self, input: &Input<'_, '_>, output: &mut Output) -> bool {
        if !input.request.has(HeaderName::ProxyRequire) {
            return false;
        }
        self.extra.clear();
        for field in input.request.fields(HeaderName::ProxyRequire) {
            self.extra.extend_from_slice(b"Unsupported: ");
            self.extra.extend_from_slice(field.value);
            self.extra.extend_from_slice(b"\r\n");
        }
        self.refuse(input, 420, &mut output.outbox);
        true
    }

    pub(crate) fn refuse_for_now(&mut self, input: &Input<'_, '_>, output: &mut Output) {
        self.extra.clear();
        self.extra.extend_from_slice(b"Retry-After: ");
        sip::lex::push_number(&mut self.extra, u64::from(input.settings.retry_after_s));
        self.extra.extend_from_slice(b"\r\n");
        self.refuse(input, 503, &mut output.outbox);
    }

    /// Whose a request is (section 16.5). A foreign Route, or a flow from a dialog's cookie, goes before
    /// the Request-URI.
    fn destination(
        &mut self,
        input: &Input<'_, '_>,
        routes: &Preprocessed<'_>,
        uri: &Uri<'_>,
    ) -> Destination {
        let has_flow = routes
            .dialog
            .is_some_and(|(ends, direction)| ends.towards(direction).is_some());
        if has_flow || routes.next_route.is_some() || pin(input, routes, uri).is_some() {
            return Destination::Uri;
        }
        match auth::push_our_aor(input.settings, uri, &mut self.aor) {
            None => Destination::Uri,
            Some(_) if uri.user.is_none() => Destination::Edge,
            Some(_) => Destination::User,
        }
    }

    /// OPTIONS is answered (section 11.2); nothing else can be asked of the edge itself.
    fn answer_for_edge(&mut self, input: &Input<'_, '_>, output: &mut Output) {
        self.extra.clear();
        if input.request.method() != Some(Method::Options) {
            return self.refuse(input, 404, &mut output.outbox);
        }
        self.extra.extend_from_slice(b"Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, MESSAGE, SUBSCRIBE, NOTIFY, INFO, UPDATE, PRACK, REFER, PUBLISH\r\nSupported: path, outbound\r\nAccept: application/sdp\r\n");
        self.refuse(input, 200, &mut output.outbox);
    }

    /// Whether the sender of a request outside any dialog of ours may have it forwarded; if not, it has
    /// been answered.
    fn is_let_through<D: Directory>(
        &mut self,
        input: &Input<'_, '_>,
        destination: Destination,
        directory: &mut D,
        output: &mut Output,
    ) -> bool {
        if is_vouched_for(input, directory) {
            return true;
        }
        let mut claimed = std::mem::take(&mut self.claimed);
        let is_let_through = self.is_authentic(input, destination, &mut claimed, directory, output);
        self.claimed = claimed;
        is_let_through
    }

    fn is_authentic<D: Directory>(
        &mut self,
        input: &Input<'_, '_>,
        destination: Destination,
        claimed: &mut Vec<u8>,
        directory: &mut D,
        output: &mut Output,
    ) -> bool {
        let domain = auth::our_aor(input.settings, &input.envelope.from, claimed);
        let is_anonymous = auth::is_anonymous(&input.envelope.from);
        // A stranger may try to be one of our users; he may not have us speak to the rest of the world.
        if domain.is_none() && destination == Destination::Uri && !is_anonymous {
            self.counted.add("relay-denied");
            self.annoyed(input, Offence::Relaying, directory, output);
            self.refuse_with(input, 403, "Relaying Denied", &mut output.outbox);
            return false;
        }
        let first = input.settings.proxy.domains.first();
        let (claimed, realm) = match domain {
            Some(at) => (Some(&claimed[..]), &claimed[at..]),
            // Whoever hides his name has to be somebody here all the same (RFC 3323 section 4.1.1.3).
            None if is_anonymous => (None, first.map_or(&b""[..], |domain| domain)),
            None => (Some(&b""[..]), first.map_or(&b""[..], |domain| domain)),
        };
        let party = (realm, claimed);
        let (settings, request) = (input.settings, input.request);
        let asked = (request, input.flow.remote.ip());
        match auth::check(settings, input.now, asked, auth::PROXY, party, directory) {
            Ok(()) => {
                self.trusts(input, directory);
                true
            }
            Err(refusal) => {
                self.challenge(input, auth::PROXY, realm, refusal, directory, output);
                false
            }
        }
    }

    /// Answers a request without good credentials.
    pub(crate) fn challenge<D: Directory>(
        &mut self,
        input: &Input<'_, '_>,
        place: auth::Place,
        realm: &[u8],
        refusal: Refusal,
        directory: &mut D,
        output: &mut Output,
    ) {
        self.extra.clear();
        match refusal {
            Refusal::Challenge(cause) => {
                self.blame_challenged(input, cause, directory, output);
                let stale = cause == Cause::Stale;
                self.counted.add(if stale {
                    "challenged-stale"
                } else {
                    "challenged"
                });
                auth::push_challenge(
                    input.settings,
                    input.now,
                    place,
                    (realm, stale, input.flow.remote.ip()),
                    directory,
                    &mut self.extra,
                );
                self.refuse(input, place.status, &mut output.outbox);
            }
            Refusal::Forbidden => {
                self.counted.add("forbidden");
                self.refuse_with(
                    input,
                    403,
                    "Credentials Of Another User",
                    &mut output.outbox,
                );
            }
            Refusal::Malformed => {
                self.counted.add("malformed-credentials");
                self.annoyed(input, Offence::Malformed, directory, output);
                self.refuse_with(input, 400, "Malformed Credentials", &mut output.outbox);
            }
        }
    }

    /// Finds the targets of a request that was let through, and forwards it (section 16.5, 16.6).
    fn route<D: Directory>(
        &mut self,
        input: &Input<'_, '_>,
        key: ServerKey,
        (routes, uri, destination, loop_part): (&Preprocessed<'_>, &Uri<'_>, Destination, u64),
        directory: &mut D,
        output: &mut Output,
    ) {
        let request = input.request;
        let pool = match destination {
            Destination::User => self.pool_of(input, directory),
            _ => None,
        };
        if pool.is_some() {
            self.targets.clear();
            self.targets.push(uri.bytes, b"", None, 1_000);
        } else if !self.find_targets(input, routes, uri, destination, directory) {
            let is_known = directory.has_user(&self.aor);
            if !is_known {
                self.annoyed(input, Offence::UnknownUser, directory, output);
            }
            return self.refuse(input, if is_known { 480 } else { 404 }, &mut output.outbox);
        }
        auth::strip_credentials(input.settings, request, &mut self.splices);
        if !is_vouched_for(input, directory) {
            // RFC 3325 section 5: a phone could name anybody there.
            proxy::remove_identities(request, &mut self.splices);
        }
        let server = self
            .layer
            .begin_server(key, request, &self.splices, input.back, u64::MAX);
        if request.method() == Some(Method::Invite) {
            // Section 16.2: the caller's retransmissions stop here. Section 8.2.6.1: he may measure.
            self.extra.clear();
            if let Some(field) = request.fields(HeaderName::Timestamp).next() {
                self.extra.extend_from_slice(b"Timestamp: ");
                self.extra.extend_from_slice(field.value);
                self.extra.extend_from_slice(b"\r\n");
            }
            let (time, outbox) = (input.now.time, &mut output.outbox);
            self.layer
                .respond(time, server, 100, "Trying", &self.extra, outbox);
            self.extra.clear();
        }
        let forward = Forward {
            request,
            envelope: input.envelope,
            routes,
            from: input.flow,
            server,
            loop_part,
            pool,
        };
        let mut surroundings = surroundings(
            &mut self.layer,
            input.settings,
            input.now,
            directory,
            output,
        );
        self.proxy.forward(
            &mut surroundings,
            &forward,
            &self.targets,
            &mut self.splices,
        );
    }

    /// Fills `self.targets`; gives whether there is any.
    fn find_targets<D: Directory>(
        &mut self,
        input: &Input<'_, '_>,
        routes: &Preprocessed<'_>,
        uri: &Uri<'_>,
        destination: Destination,
        directory: &mut D,
    ) -> bool {
        self.targets.clear();
        let targets = &mut self.targets;
        match destination {
            Destination::Edge => {}
            Destination::Uri => {
                let flow = routes
                    .dialog
                    .and_then(|(ends, direction)| ends.towards(direction));
                let pinned = pin(input, routes, uri);
                let flow = match pinned.or(flow) {
                    Some(flow) if !directory.is_open(&flow) => {
                        reconnected(input, uri, &mut self.aor, directory)
                    }
                    flow => flow,
                };
                match pinned {
                    Some(closed) => targets.push_pinned(uri.bytes, flow.unwrap_or(closed)),
                    None => targets.push(uri.bytes, b"", flow, 1_000),
                }
            }
            // Bindings may outlive their user, whom somebody else may have deleted in the store.
            Destination::User if !directory.has_user(&self.aor) => {}
            Destination::User => {
                let now_s = input.now.unix_s();
                push_targets(&self.aor, now_s, targets, directory);
                targets.close_flows(|flow| !directory.is_open(flow));
                targets.sort();
            }
        }
        !self.targets.as_slice().is_empty()
    }

    /// Forwards an ACK of a 2xx (section 16.6): within a dialog by its cookie, else from trusted sources
    /// only, since nobody can be asked for credentials.
    pub(crate) fn admit_ack<D: Directory>(
        &mut self,
        input: &Input<'_, '_>,
        directory: &mut D,
        output: &mut Output,
    ) {
        let request = input.request;
        let dropped = 'forwarded: {
            let Ok(routes) = preprocess(&input.settings.proxy, request, input.envelope) else {
                break 'forwarded "malformed-header";
            };
            let Ok(uri) = sip::check::request_uri(routes.request_uri) else {
                break 'forwarded "request-uri";
            };
            // The ACK of what was refused here without a transaction ends here too.
            let is_stray = !self.may_acknowledge(input) || self.is_of_refusal(input);
            if routes.dialog.is_none() && is_stray {
                break 'forwarded "stray-ack";
            }
            if request.number(HeaderName::MaxForwards, 255) == Ok(Some(0)) {
                break 'forwarded "max-forwards";
            }
            let loop_part =
                loops::loop_part(input.settings.proxy.cookie_secret, request, input.envelope);
            if loops::is_loop(&input.settings.proxy, request, input.envelope, loop_part) {
                break 'forwarded "loop";
            }
            let destination = self.destination(input, &routes, &uri);
            if !self.find_targets(input, &routes, &uri, destination, directory) {
                break 'forwarded "stray-ack";
            }
            auth::strip_credentials(input.settings, request, &mut self.splices);
            if !is_vouched_for(input, directory) {
                proxy::remove_identities(request, &mut self.splices);
            }
            let forward = ForwardAck {
                request,
                envelope: input.envelope,
                routes: &routes,
                from: input.flow,
                loop_part,
            };
            let mut surroundings = surroundings(
                &mut self.layer,
                input.settings,
                input.now,
                directory,
                output,
            );
            match self.proxy.forward_ack(
                &mut surroundings,
                &forward,
                &self.targets,
                &mut self.splices,
            ) {
                true => return,
                false => "unroutable-ack",
            }
        };
        self.counted.add(dropped);
    }

    /// Whether an ACK that brings no cookie may pass. Nobody can be asked for credentials, but one may know
    /// the call: its sender uses the edge as outbound proxy though no route was recorded.
    fn may_acknowledge(&self, input: &Input<'_, '_>) -> bool {
        let envelope = input.envelope;
        let from_tag = envelope.from_tag.unwrap_or_default();
        // Where routes are recorded the cookie says it better.
        let may_know = !input.settings.proxy.record_route;
        input.settings.is_trusted(input.flow.remote.ip())
            || may_know
                && envelope.to_tag.is_some()
                && self.proxy.calls.is_known(envelope.call_id, from_tag)
    }

    /// Takes a CANCEL (section 16.10, 9.2): answered here, and everything that rings is cancelled. One
    /// that matches nothing gets 481: what we forward, we forward statefully.
    pub(crate) fn cancel<D: Directory>(
        &mut self,
        input: &Input<'_, '_>,
        key: ServerKey,
        directory: &mut D,
        output: &mut Output,
    ) {
        let Some((_, user)) = self
            .layer
            .find_cancelled(input.request, &input.envelope.via)
        else {
            self.counted.add("stray-cancel");
            return self.refuse(input, 481, &mut output.outbox);
        };
        let server =
            self.layer
                .begin_server(key, input.request, &self.splices, input.back, u64::MAX);
        self.layer
            .respond(input.now.time, server, 200, "OK", b"", &mut output.outbox);
        let reason = input.request.header(HeaderName::Reason).unwrap_or_default();
        let mut surroundings = surroundings(
            &mut self.layer,
            input.settings,
            input.now,
            directory,
            output,
        );
        self.proxy.cancel(&mut surroundings, user, reason);
    }
}

/// Whether a request comes from who needs no credentials and is believed whom it asserts: the operator says so, or it is a media server of
/// ours.
fn is_vouched_for<D: Directory>(input: &Input<'_, '_>, directory: &mut D) -> bool {
    input.settings.is_trusted(input.flow.remote.ip()) || directory.is_target(&input.flow)
}

/// Adds the contacts of a user. A phone with several flows is tried on one that is open (RFC 5626
/// section 5.3).
fn push_targets<D: Directory>(aor: &[u8], now_s: u64, targets: &mut Targets, directory: &mut D) {
    let mut flows = Vec::new();
    let has_alternates = directory.location(aor, |location, _| {
        let mut has_alternates = false;
        registrar::targets(location, aor, now_s, |target| {
            has_alternates |= target.alternate;
            if !target.alternate {
                targets.push(target.uri, target.path, target.flow, target.q);
            }
        });
        if has_alternates {
            registrar::targets(location, aor, now_s, |target| flows.extend(target.flow));
        }
        has_alternates
    });
    flows.retain(|flow| !directory.is_open(flow));
    if !has_alternates || flows.is_empty() {
        return;
    }
    targets.clear();
    directory.location(aor, |location, _| {
        let is_open = |flow: &Flow| !flows.contains(flow);
        registrar::targets_over(location, aor, now_s, is_open, |target| {
            if !target.alternate {
                targets.push(target.uri, target.path, target.flow, target.q);
            }
        });
    });
}

/// The caller's flow, for a request to him by the cookie of his call that would lead elsewhere. The callee
/// may be a stranger: what he brings the cookie with reaches the caller and nobody else, whatever its
/// Request-URI and Route say.
fn pin(input: &Input<'_, '_>, routes: &Preprocessed<'_>, uri: &Uri<'_>) -> Option<Flow> {
    let Some((ends, proxy::cookie::Direction::ToCaller)) = routes.dialog else {
        return None;
    };
    let caller = ends.caller?;
    if input.settings.is_trusted(input.flow.remote.ip()) {
        return None;
    }
    let host = match &routes.next_route {
        Some(route) => route.parse_uri().ok()?.host,
        None => uri.host,
    };
    (host.address != Some(caller.remote.ip())).then_some(caller)
}

/// The flow of a phone whose stream in the dialog's cookie is closed and that has registered the same
/// contact again since (RFC 5626 section 5.3).
fn reconnected<D: Directory>(
    input: &Input<'_, '_>,
    uri: &Uri<'_>,
    aor: &mut Vec<u8>,
    directory: &mut D,
) -> Option<Flow> {
    auth::our_aor(input.settings, &input.envelope.to, aor)?;
    let now_s = input.now.unix_s();
    let flow = directory.location(aor, |location, _| {
        let mut bindings = location.lookup(aor, now_s);
        let same = bindings.find(|binding| {
            let contact = Uri::parse(binding.contact());
            binding.use_flow() && contact.is_ok_and(|contact| contact.equivalent(uri))
        });
        same.map(|binding| binding.flow())
    })?;
    directory.is_open(&flow).then_some(flow)
}
