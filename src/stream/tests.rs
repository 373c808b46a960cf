//! Tests of following.
