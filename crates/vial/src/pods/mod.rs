//! Pods that one can log in to, as the command line sees them: `vial pod …` is about them.
//!
//! | what | where |
//! |---|---|
//! | which cluster and namespace is meant | [`place`] |

#[expect(dead_code, reason = "the ways of ssh that need the rest come next")]
pub(crate) mod place;
