//! The whole way, against a registry that fails.
