//! Golden list.
