//! The bundle: what the user asked for (grammar, configuration file), what the target has (engines and their
//! configuration), the plan that follows, and the systemd units and Quadlets that start the containers.
