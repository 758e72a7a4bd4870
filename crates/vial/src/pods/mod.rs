//! Pods that one can log in to, as the command line sees them: `vial pod …` is about them.
//!
//! | what | where |
//! |---|---|
//! | which cluster and namespace is meant | [`place`] |
//! | what may be asked for, as flags | [`wish`] |
//! | who may log in | [`keys`] |
//! | how the ssh server comes into pods | [`means`] |
//! | making them | [`make`] |
//! | many of them by a file | [`batch`] |
//! | which of those that are there are meant | [`choice`] |
//! | lists of them for other programs | [`table`] |

pub(crate) mod batch;
pub(crate) mod choice;
pub(crate) mod keys;
pub(crate) mod make;
pub(crate) mod means;
pub(crate) mod place;
pub(crate) mod table;
pub(crate) mod wish;
