//! Integrations for the kit to attack: careful ones, and careless ones that it must catch.
#![allow(dead_code, unreachable_pub, missing_docs, missing_debug_implementations)]

pub mod device;
pub mod servers;
