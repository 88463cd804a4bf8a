//! The bundle: what the user asked for (grammar, configuration file), what the target has (engines and their
//! configuration), the plan that follows, and the systemd units and Quadlets that start the containers.
//!
//! This crate owns the decisions. The way through it: [`request::Request`]s, from [`grammar`] or [`config`]; a
//! [`target::Target`]; from both a [`plan::Plan`], in which every contradiction has been found; and
//! [`plan::Plan::execute`].
//!
//! It must not know the formats of stores and layers (only where engines look for them), nor terminals. It never prints and never reads the environment:
//! whoever calls it passes everything in.

pub mod config;
pub mod custom;
pub mod execute;
pub mod find;
pub mod grammar;
pub mod naming;
pub mod plan;
pub mod quadlet;
pub mod request;
pub mod run_options;
pub mod service;
pub mod systemd_text;
pub mod target;
pub mod unit;
