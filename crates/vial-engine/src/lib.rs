//! Plan (pure) and execute: what an up, a down or a change does
