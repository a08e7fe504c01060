//! The holdline program: configuration, wiring, command line.

pub mod cli;
pub mod config;
