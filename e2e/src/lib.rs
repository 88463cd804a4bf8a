//! Tests against real engines, see the tests folder.
