//! Dialogs of a user agent (RFC 3261 section 12).
//!
//! The problem: a user agent's half of a call is a dialog with its tags, its numbers and its route, an offer
//! that may be open in one direction only, provisionals that have to arrive, and a session that both sides keep
//! alive; and another node has to be able to go on with it.
//!
//! The approach: to be written here with the code.
//!
//! Not attempted: choosing codecs, sockets, who is called.
