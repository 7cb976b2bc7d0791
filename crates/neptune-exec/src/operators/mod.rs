//! Operators of our own with short polls.
