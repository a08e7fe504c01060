//! A cluster simulated on one thread from one seed.
