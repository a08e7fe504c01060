//! SIP messages: indexed in place, edited by splicing, written without copies.
