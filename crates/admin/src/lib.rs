//! The admin HTTP API: health, metrics, an operator's verbs.
