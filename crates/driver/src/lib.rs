//! Runs the pure machines on threads with sockets, clock, timers and queues.
