//! What runs calls by the dialplan.
