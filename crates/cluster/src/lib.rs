//! Who owns a service, and what a standby knows.
