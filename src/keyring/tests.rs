use futures_util::FutureExt as _;

use super::*;

fn keyring() -> (tempfile::TempDir, Keyring) {
    let folder = tempfile::tempdir().unwrap();
    let keyring = Keyring::open(Keyring::default_path(folder.path()), true).unwrap();
    (folder, keyring)
}

#[test]
fn opens_only_under_the_same_context() {
    let (_folder, keyring) = keyring();
    let sealed = keyring.sealer().unwrap().seal(b"alice", b"secret");
    assert!(!sealed.windows(6).any(|bytes| bytes == b"secret"));
    assert_eq!(
        &**keyring.open_sealed(b"alice", &sealed).unwrap(),
        b"secret"
    );
    assert!(keyring.open_sealed(b"bob", &sealed).is_none());
    let mut forged = sealed;
    *forged.last_mut().unwrap() ^= 1;
    assert!(keyring.open_sealed(b"alice", &forged).is_none());
    assert!(keyring.open_sealed(b"alice", b"").is_none());
}

#[test]
fn sealing_the_same_text_twice_gives_different_bytes() {
    let (_folder, keyring) = keyring();
    assert_ne!(
        keyring.sealer().unwrap().seal(b"x", b"secret"),
        keyring.sealer().unwrap().seal(b"x", b"secret")
    );
}

#[test]
fn a_new_key_seals_and_old_keys_open_until_they_are_dropped() {
    let (folder, keyring) = keyring();
    let old = keyring.sealer().unwrap().seal(b"x", b"secret");
    assert_eq!(keyring.add_key().unwrap(), 2);
    let new = keyring.sealer().unwrap().seal(b"x", b"secret");
    assert_eq!(Keyring::number_of(&old), Some(1));
    assert_eq!(Keyring::number_of(&new), Some(2));
    let again = Keyring::open(Keyring::default_path(folder.path()), false).unwrap();
    for keyring in [&keyring, &again] {
        assert!(keyring.open_sealed(b"x", &old).is_some());
        assert!(keyring.open_sealed(b"x", &new).is_some());
    }
    keyring.drop_older_keys().unwrap();
    let again = Keyring::open(Keyring::default_path(folder.path()), false).unwrap();
    for keyring in [&keyring, &again] {
        assert!(!keyring.has_older_keys());
        assert!(keyring.open_sealed(b"x", &old).is_none());
        assert!(keyring.open_sealed(b"x", &new).is_some());
    }
}

#[test]
fn quiesce_waits_for_earlier_leases_only() {
    let (_folder, keyring) = keyring();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let before = keyring.lease();
        let mut quiesce = Box::pin(keyring.quiesce());
        assert!((&mut quiesce).now_or_never().is_none());
        let _after = keyring.lease();
        drop(before);
        quiesce.await;
    });
}

#[test]
fn a_missing_or_damaged_file_is_never_replaced() {
    let (folder, keyring) = keyring();
    let sealed = keyring.sealer().unwrap().seal(b"x", b"secret");
    let file = Keyring::default_path(folder.path());
    let again = Keyring::open(file.clone(), true).unwrap();
    assert!(again.open_sealed(b"x", &sealed).is_some());
    let twice = fs::read_to_string(&file).unwrap().repeat(2);
    let damaged: [&[u8]; 4] = [b"1 rubbish\n", b"", b"\xff\xfe\n", twice.as_bytes()];
    for bytes in damaged {
        fs::write(&file, bytes).unwrap();
        assert!(matches!(
            Keyring::open(file.clone(), true),
            Err(KeyringError::Malformed { .. })
        ));
        assert_eq!(fs::read(&file).unwrap(), bytes);
    }
    fs::remove_file(&file).unwrap();
    assert!(matches!(
        Keyring::open(file, false),
        Err(KeyringError::Missing { .. })
    ));
}

#[test]
fn a_file_accessible_to_others_is_rejected() {
    let (folder, _) = keyring();
    let file = Keyring::default_path(folder.path());
    for (mode, is_rejected) in [
        (0o640, true),
        (0o604, true),
        (0o620, true),
        (0o602, true),
        (0o600, false),
        (0o400, false),
    ] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        match Keyring::open(file.clone(), false) {
            Err(error @ KeyringError::OpenToOthers { .. }) => {
                assert!(is_rejected);
                let command = format!("chmod 600 {}", file.display());
                assert!(error.to_string().ends_with(&command), "{error}");
            }
            result => assert!(
                !is_rejected && result.is_ok(),
                "{mode:o}: {:?}",
                result.err()
            ),
        }
    }
}
