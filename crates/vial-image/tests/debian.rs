//! The Debian side against a small archive of its own: what is signed for is taken, everything else is refused by name.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod mirror;

use std::fs;
use std::path::Path;

use mirror::Mirror;
use vial_image::debian::{self, DebianError, Lock, PackageList, Progress, rootfs};

const LIST: PackageList<'static> = PackageList {
    name: "test",
    wanted: &["app"],
    excluded: &[],
    assumed: &[],
};

fn quiet(_: Progress) {}

async fn lock(mirror: &Mirror, cache: &Path) -> Result<Lock, DebianError> {
    Ok(
        debian::lock(&[mirror.suite()], "amd64", &[LIST], cache, &quiet)
            .await?
            .remove(0),
    )
}

/// What a person reads: the error and all its causes.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

/// Files in the cache that carry their final name.
fn finished(cache: &Path) -> Vec<String> {
    let names = fs::read_dir(cache)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names
        .filter(|name| name != ".lock" && !name.ends_with(".part"))
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn locks_and_fetches_what_is_signed_for() {
    let (mirror, cache) = (Mirror::start().await, tempfile::tempdir().unwrap());
    let lock = lock(&mirror, cache.path()).await.unwrap();
    let packages: Vec<_> = lock
        .packages
        .iter()
        .map(|package| {
            (
                package.package.as_str(),
                package.version.as_str(),
                package.bootstrap,
            )
        })
        .collect();
    assert_eq!(
        packages,
        [
            ("base", "1", true),
            ("lib", "1:2.0-1", false),
            ("app", "3", false)
        ]
    );
    assert_eq!(lock.epoch, mirror::DATE);
    let files = debian::fetch(std::slice::from_ref(&lock), cache.path(), &quiet)
        .await
        .unwrap();
    assert_eq!(
        files
            .iter()
            .map(|file| file.file_name().unwrap().to_str().unwrap())
            .collect::<Vec<_>>(),
        [
            "base_1_all.deb",
            "lib_1%3a2.0-1_amd64.deb",
            "app_3_amd64.deb"
        ]
    );

    // Again: the signed file is asked for anew, nothing else.
    mirror.requests();
    let again = self::lock(&mirror, cache.path()).await.unwrap();
    debian::fetch(std::slice::from_ref(&again), cache.path(), &quiet)
        .await
        .unwrap();
    assert_eq!((again.digest(), again), (lock.digest(), lock));
    assert_eq!(mirror.requests(), ["/debian/dists/test/InRelease"]);
}

#[tokio::test]
async fn refuses_a_release_signed_by_another_key() {
    let (mirror, cache) = (Mirror::start().await, tempfile::tempdir().unwrap());
    let mut suite = mirror.suite();
    suite.keyring = Mirror::start().await.suite().keyring;
    let error = debian::lock(&[suite.clone()], "amd64", &[LIST], cache.path(), &quiet)
        .await
        .unwrap_err();
    assert!(
        chain(&error).contains("dists/test/InRelease: no valid signature by a key of the keyring"),
        "{}",
        chain(&error)
    );
    // Nor does Debian's own keyring know it, and the flag for expired releases changes nothing.
    suite.keyring = debian::Keyring::debian().unwrap();
    suite.allow_expired = true;
    assert!(matches!(
        debian::lock(&[suite], "amd64", &[LIST], cache.path(), &quiet).await,
        Err(DebianError::Signature { .. })
    ));
    assert_eq!(finished(cache.path()), [""; 0]);
}

#[tokio::test]
async fn refuses_a_release_that_was_changed_or_cut() {
    let (mirror, cache) = (Mirror::start().await, tempfile::tempdir().unwrap());
    let path = "/debian/dists/test/InRelease";
    let good = mirror.get(path);
    let changed =
        String::from_utf8(good.clone())
            .unwrap()
            .replacen("Codename: test", "Codename: tesT", 1);
    let prefixed = [b"Suite: test\n\n".as_slice(), &good].concat();
    for bad in [
        changed.into_bytes(),
        good[..good.len() / 2].to_vec(),
        prefixed,
        Vec::new(),
    ] {
        mirror.put(path, bad);
        let error = chain(&lock(&mirror, cache.path()).await.unwrap_err());
        assert!(
            error.contains("dists/test/InRelease: no valid signature"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn refuses_a_changed_index() {
    let (mirror, cache) = (Mirror::start().await, tempfile::tempdir().unwrap());
    let path = mirror.index_path();
    let mut index = mirror.get(&path);
    *index.last_mut().unwrap() ^= 1;
    mirror.put(&path, index);
    let error = chain(&lock(&mirror, cache.path()).await.unwrap_err());
    assert!(
        error.contains("/dists/test/main/binary-amd64/Packages.xz: SHA256 is "),
        "{error}"
    );
    assert_eq!(finished(cache.path()), [""; 0]);
}

#[tokio::test]
async fn refuses_a_changed_and_a_truncated_package() {
    let (mirror, cache) = (Mirror::start().await, tempfile::tempdir().unwrap());
    let lock = lock(&mirror, cache.path()).await.unwrap();
    let path = "/debian/pool/app_3_amd64.deb";
    let good = mirror.get(path);
    let mut changed = good.clone();
    changed[20] ^= 1;
    let longer = [good.as_slice(), b"!"].concat();
    for (bad, what) in [
        (changed, "SHA256"),
        (good[..good.len() - 1].to_vec(), "size"),
        (longer, "size"),
    ] {
        mirror.put(path, bad);
        let error = chain(
            &debian::fetch(std::slice::from_ref(&lock), cache.path(), &quiet)
                .await
                .unwrap_err(),
        );
        assert!(
            error.contains(&format!("/debian/pool/app_3_amd64.deb: {what} is ")),
            "{error}"
        );
        assert!(!finished(cache.path()).contains(&"app_3_amd64.deb".to_owned()));
    }
    mirror.put(path, good);
    debian::fetch(&[lock], cache.path(), &quiet).await.unwrap();
}

#[tokio::test]
async fn refuses_an_expired_release_unless_told() {
    let (mirror, cache) = (
        Mirror::start_with("Valid-Until: Sat, 01 Feb 2025 00:00:00 UTC\n").await,
        tempfile::tempdir().unwrap(),
    );
    let error = chain(&lock(&mirror, cache.path()).await.unwrap_err());
    assert!(
        error.starts_with(
            "release of suite test expired on 2025-02-01T00:00:00Z; allow expired releases"
        ),
        "{error}"
    );
    let mut suite = mirror.suite();
    suite.allow_expired = true;
    debian::lock(&[suite], "amd64", &[LIST], cache.path(), &quiet)
        .await
        .unwrap();
}

#[tokio::test]
async fn goes_on_where_a_download_broke_off() {
    let (mirror, cache) = (Mirror::start().await, tempfile::tempdir().unwrap());
    let lock = lock(&mirror, cache.path()).await.unwrap();
    let path = "/debian/pool/app_3_amd64.deb";
    let size = mirror.get(path).len();
    mirror.break_once(path, 100);
    mirror.requests();
    debian::fetch(std::slice::from_ref(&lock), cache.path(), &quiet)
        .await
        .unwrap();
    assert!(mirror.requests().contains(&format!("{path} bytes=100-")));

    // A first part of something else, as left by a kill: the whole is fetched again.
    fs::rename(
        cache.path().join("app_3_amd64.deb"),
        cache.path().join("app_3_amd64.deb.part"),
    )
    .unwrap();
    for part in [vec![b'x'; 10], vec![b'x'; size], vec![b'x'; size + 10]] {
        fs::write(cache.path().join("app_3_amd64.deb.part"), part).unwrap();
        let _ = fs::remove_file(cache.path().join("app_3_amd64.deb"));
        debian::fetch(std::slice::from_ref(&lock), cache.path(), &quiet)
            .await
            .unwrap();
    }
    assert_eq!(
        fs::read(cache.path().join("app_3_amd64.deb")).unwrap(),
        mirror.get(path)
    );
}

#[tokio::test]
async fn a_damaged_cache_is_mended_and_never_unpacked() {
    let (mirror, cache) = (Mirror::start().await, tempfile::tempdir().unwrap());
    let lock = lock(&mirror, cache.path()).await.unwrap();
    let file = debian::fetch(std::slice::from_ref(&lock), cache.path(), &quiet)
        .await
        .unwrap()
        .pop()
        .unwrap();
    let mut bytes = fs::read(&file).unwrap();
    bytes[30] ^= 1;
    fs::write(&file, bytes).unwrap();

    let target = cache.path().join("root");
    let error = rootfs::build(&lock, cache.path(), &target, &quiet)
        .unwrap_err()
        .to_string();
    assert!(error.contains("app_3_amd64.deb: SHA256 is "), "{error}");
    assert_eq!(fs::read_dir(&target).unwrap().count(), 0);

    debian::fetch(&[lock], cache.path(), &quiet).await.unwrap();
    assert_eq!(
        fs::read(&file).unwrap(),
        mirror.get("/debian/pool/app_3_amd64.deb")
    );
}

#[tokio::test]
async fn says_what_the_mirror_does_not_have() {
    let (mirror, cache) = (Mirror::start().await, tempfile::tempdir().unwrap());
    let lock = lock(&mirror, cache.path()).await.unwrap();
    mirror.remove("/debian/pool/lib_2.0-1_amd64.deb");
    let error = chain(
        &debian::fetch(&[lock], cache.path(), &quiet)
            .await
            .unwrap_err(),
    );
    assert!(
        error.ends_with("/debian/pool/lib_2.0-1_amd64.deb: the mirror answered 404"),
        "{error}"
    );
}

#[tokio::test]
async fn a_package_or_suite_that_there_is_not_is_told_with_names_like_it() {
    let (mirror, cache) = (Mirror::start().await, tempfile::tempdir().unwrap());
    let mut suite = mirror.suite();
    let said = async |suite: &debian::Suite, wanted: &str| {
        let list = PackageList {
            wanted: &["app", wanted],
            ..LIST
        };
        let suites = [suite.clone()];
        let locked = debian::lock(&suites, "amd64", &[list], cache.path(), &quiet).await;
        locked.unwrap_err()
    };
    let error = said(&suite, "unussed (>= 2)").await;
    assert_eq!(
        error.to_string(),
        "debian test has no package `unussed (>= 2)`"
    );
    assert!(
        matches!(&error, DebianError::NoPackage { near, .. } if *near == ["unused"]),
        "{error:?}"
    );
    for bad in ["a b", "../x y", "a (2)"] {
        let error = said(&suite, bad).await;
        assert!(
            matches!(error, DebianError::BadPackage { .. }),
            "{bad}: {error:?}"
        );
    }
    suite.name = "tset".into();
    let error = said(&suite, "unused").await.to_string();
    assert!(error.contains("has no suite `tset`"), "{error}");
}
