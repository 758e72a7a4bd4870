//! What the tests of several crates share: how a test says that it cannot run here.

/// Where this variable is set, a test that cannot run fails instead of passing unseen.
pub const REQUIRE: &str = "VIAL_TEST_REQUIRE";

/// Says that the calling test is skipped, `because` of something that this machine or user lacks; the test returns then.
///
/// # Panics
/// Where [`REQUIRE`] is set.
#[expect(clippy::print_stderr, reason = "a test has no Ui")]
pub fn skip(because: &str) {
    let text = format!("skipped, because {because}");
    assert!(std::env::var_os(REQUIRE).is_none(), "{text}");
    eprintln!("{text}");
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_skipped_test_fails_exactly_where_it_is_required() {
        let failed = std::panic::catch_unwind(|| super::skip("it is a test")).is_err();
        assert_eq!(failed, std::env::var_os(super::REQUIRE).is_some());
    }
}
