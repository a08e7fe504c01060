//! SIP transactions: the four machines of RFC 3261 section 17 and RFC 6026 as tables, and their timers.
