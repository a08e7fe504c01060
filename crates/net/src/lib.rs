//! Sockets: UDP in batches, framed TCP, name resolution.
