//! The RTP relay's decisions: where a packet goes, and who may send it.
