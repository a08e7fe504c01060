//! Which media server gets the next call.
