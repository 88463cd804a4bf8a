//! Debian packages of any architecture, taken through apt, as an ordinary user and without running any of their code.
