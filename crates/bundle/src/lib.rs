//! The bundle: what the user asked for (grammar, configuration file), what the target has (engines and their
//! configuration), the plan that follows, and the systemd units and Quadlets that start the containers.

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
