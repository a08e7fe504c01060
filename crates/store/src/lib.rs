//! The SQL store: users, domains, credentials, bindings.
