//! What can go wrong in this crate.

use crate::settings::{FALLBACKS_MAX, POOLS_MAX, Source, TARGETS_MAX, WEIGHT_MAX};
use crate::words::WORDS_MAX;
use core::fmt;

/// An error of this crate: always the operator's or the caller's, never a peer's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// More than [`POOLS_MAX`] pools.
    TooManyPools {
        /// How many there are.
        pools: usize,
    },
    /// More than [`TARGETS_MAX`] targets.
    TooManyTargets {
        /// How many there are.
        targets: usize,
    },
    /// Two pools of one name.
    PoolTwice {
        /// The name.
        pool: String,
    },
    /// A pool names a target twice.
    TargetTwice {
        /// The pool.
        pool: String,
        /// The target.
        source: Source,
    },
    /// A fallback that is no pool.
    NoSuchFallback {
        /// The pool that names it.
        pool: String,
        /// The name.
        fallback: String,
    },
    /// More than [`FALLBACKS_MAX`] fallbacks after each other, or a circle of them.
    FallbacksTooDeep {
        /// Where they begin.
        pool: String,
    },
    /// A weight of 0 or above [`WEIGHT_MAX`].
    WeightOutOfRange {
        /// The pool.
        pool: String,
        /// The weight.
        weight: u32,
    },
    /// A setting that must not be zero.
    Zero {
        /// The pool.
        pool: String,
        /// The setting.
        name: &'static str,
    },
    /// A target that is not, or not any more.
    NoSuchTarget,
    /// The operator has said something about [`WORDS_MAX`] targets.
    TooManyWords,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::TooManyPools { pools } => write!(f, "{pools} pools, {POOLS_MAX} is the limit"),
            Error::TooManyTargets { targets } => {
                write!(f, "{targets} targets, {TARGETS_MAX} is the limit")
            }
            Error::PoolTwice { pool } => write!(f, "two pools are named {pool:?}"),
            Error::TargetTwice { pool, source } => {
                let (Source::Uri(name) | Source::Service(name) | Source::Srv(name)) = source;
                write!(f, "pool {pool:?} names {name:?} twice")
            }
            Error::NoSuchFallback { pool, fallback } => {
                write!(f, "the fallback {fallback:?} of pool {pool:?} is no pool")
            }
            Error::FallbacksTooDeep { pool } => write!(
                f,
                "the fallbacks from pool {pool:?} on are a circle or more than {FALLBACKS_MAX}"
            ),
            Error::WeightOutOfRange { pool, weight } => write!(
                f,
                "weight {weight} in pool {pool:?}, allowed are 1 to {WEIGHT_MAX}"
            ),
            Error::Zero { pool, name } => write!(f, "{name} of pool {pool:?} is 0"),
            Error::NoSuchTarget => write!(f, "there is no such target"),
            Error::TooManyWords => write!(f, "{WORDS_MAX} targets are drained or disabled already"),
        }
    }
}

impl core::error::Error for Error {}
