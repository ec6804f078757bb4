use proptest::prelude::*;

use super::*;

/// Computed with Python: `hashlib.pbkdf2_hmac('sha256', password, salt, iterations)`.
const PBKDF2_VECTORS: [(&str, &str, i64, &str); 3] = [
    (
        "passwd",
        "73616c7473616c74",
        1,
        "94398fe91b85307f185a879f884a2ae1e4ea297415e4e7a9d2fa22c6a327a41c",
    ),
    (
        "pässwörd ✓ 日本",
        "000102030405060708090a0b0c0d0e0f",
        1_000,
        "110b1ad879ae6dc048fa46e8a0294d13a6d28f09f58c7fa624ba578c151e9768",
    ),
    (
        "",
        "ffffffffffffffffffffffffffffffff",
        2,
        "6b714b72e5ebe5be8a2b938bb47cb220a81de119c81d33f55cc157b7d95df4e9",
    ),
];

/// Computed with Python's bcrypt 4.3.0, with this salt at cost 4.
const BCRYPT_SALT: &str = "$2b$04$abcdefghijklmnopqrstuu";
const BCRYPT_VECTORS: [(&[u8], &str); 6] = [
    (b"", "byCG3zY1GIXMyxfivm.ClDiInHzxjiq"),
    (b"a", "MFdJu9yVgmagVAIC24fOZkaFqd3s9JC"),
    (b"a\0", "g0aqOciXWy9.Zi1mjegXPl0XSOkMoQi"),
    (b"a\0b", "sjHI0zQHpOe3SFDK1IriYv6N79Gzr32"),
    (
        "pässwörd ✓ 日本".as_bytes(),
        "4GGaUpKt/GWtQzt.hWpWeQ3.NEgpPbm",
    ),
    (&[b'x'; 71], ".gc7UY/21CSNJGJg21jJzx9QiOpJ9bO"),
];
/// The hash of 72 times `x`, and of any more.
const BCRYPT_72: &str = "bzadhGtS2zEF.gu0yd0opP6cVzb.e0i";
/// The hash of 71 times `x` and the first half of an umlaut.
const BCRYPT_CUT: &str = "BQHqZaO/dlDRZ.TvJ67we2MtFVZUvA2";

const HASH: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const SALT: &str = "000102030405060708090a0b0c0d0e0f";

fn matches(password: &[u8], record: &PasswordRecord) -> bool {
    Checker::default().verify(password, &parse(record).unwrap().unwrap())
}

fn bcrypt_text(hash: &str) -> PasswordRecord {
    bcrypt_record(&format!("{BCRYPT_SALT}{hash}")).unwrap()
}

#[test]
fn pbkdf2_agrees_with_python() {
    for (password, salt, iterations, hash) in PBKDF2_VECTORS {
        let record = pbkdf2_record(hash, salt, iterations).unwrap();
        assert!(matches(password.as_bytes(), &record), "{password:?}");
        assert!(!matches(format!("{password}x").as_bytes(), &record));
        let again = pbkdf2_record(hash, salt, iterations + 1).unwrap();
        assert!(!matches(password.as_bytes(), &again), "{password:?}");
    }
}

#[test]
fn a_pbkdf2_record_is_a_phc_string() {
    let record = pbkdf2_record(HASH, SALT, 100_000).unwrap();
    let text = "$pbkdf2-sha256$i=100000,l=32$AAECAwQFBgcICQoLDA0ODw\
                $ABEiM0RVZneImaq7zN3u/wARIjNEVWZ3iJmqu8zd7v8";
    assert_eq!(record.expose(), text);
}

#[test]
fn bcrypt_agrees_with_python() {
    for (password, hash) in BCRYPT_VECTORS {
        assert!(matches(password, &bcrypt_text(hash)), "{password:?}");
        assert!(!matches(b"b", &bcrypt_text(hash)), "{password:?}");
    }
}

#[test]
fn bcrypt_reads_72_bytes_even_within_a_character() {
    let record = bcrypt_text(BCRYPT_72);
    for length in [72, 73, 80, 5_000] {
        assert!(matches(&vec![b'x'; length], &record), "{length}");
    }
    assert!(!matches(&[b'x'; 71], &record));
    let cut = format!("{}ä", "x".repeat(71));
    assert!(matches(cut.as_bytes(), &bcrypt_text(BCRYPT_CUT)));
}

/// Regression: a secret twice with a NUL in between matches the record of the secret once, and
/// replaced it.
#[test]
fn a_secret_with_a_nul_is_cut() {
    let hash = bcrypt(b"ab", [7; 16], 4);
    let record = Scheme::Bcrypt {
        cost: 4,
        salt: [7; 16],
        hash: hash[..23].try_into().unwrap(),
    };
    assert!(Checker::default().verify(b"ab\0ab", &record));
    let record = bcrypt_text(BCRYPT_72);
    assert!(is_cut("ab\0ab", &record));
    assert!(!is_cut("abab", &record));
}

#[test]
fn all_prefixes_of_bcrypt_are_accepted() {
    for kind in ["2a", "2b", "2y"] {
        let text = format!("${kind}$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW");
        let record = bcrypt_record(&text).unwrap();
        assert_eq!(record.expose(), text);
        assert!(matches(b"secret", &record), "{kind}");
    }
}

#[test]
fn a_cost_out_of_bounds_is_rejected_with_the_bounds() {
    for iterations in [i64::MIN, -1, 0, 2_000_001, 1 << 32, i64::MAX] {
        let refused = pbkdf2_record(HASH, SALT, iterations).unwrap_err();
        assert_eq!(refused, UnusableHash::Iterations(iterations));
        assert!(refused.to_string().contains("1 to 2000000 are accepted"));
    }
    assert!(pbkdf2_record(HASH, SALT, 2_000_000).is_ok());
    for cost in ["00", "03", "13", "31", "99"] {
        let text = format!("$2b${cost}$abcdefghijklmnopqrstuu{BCRYPT_72}");
        let refused = bcrypt_record(&text).unwrap_err();
        assert_eq!(refused, UnusableHash::Cost(cost.parse().unwrap()));
        assert!(refused.to_string().contains("4 to 12 are accepted"));
    }
}

#[test]
fn malformed_hashes_and_salts_are_rejected() {
    for hash in [
        "",
        "00",
        &HASH[1..],
        &format!("{HASH}0"),
        &HASH.replace('f', "g"),
    ] {
        let refused = pbkdf2_record(hash, SALT, 1).unwrap_err();
        assert_eq!(refused, UnusableHash::NotPbkdf2, "{hash:?}");
    }
    for salt in [
        "",
        "0",
        "00010203040506",
        &"00".repeat(49),
        "0001020304050607zz",
    ] {
        let refused = pbkdf2_record(HASH, salt, 1).unwrap_err();
        assert_eq!(refused, UnusableHash::Salt, "{salt:?}");
    }
    for salt in [8, 48] {
        assert!(pbkdf2_record(HASH, &"00".repeat(salt), 1).is_ok());
    }
    let good = format!("{BCRYPT_SALT}{BCRYPT_72}");
    for bad in [
        good.replace("$2b$", "$2x$"),
        good.replace("$2b$", "$2$"),
        good.replace("$04$", "$4$"),
        good.replace("$04$", "$+4$"),
        good.replace("$04$", "$004$"),
        good.replace("rstuu", "rstuv"),
        good.replace('z', "é"),
        good.replace('z', "!"),
        format!("{good}x"),
        format!(" {good}"),
        good[..good.len() - 1].to_owned(),
    ] {
        assert_eq!(
            bcrypt_record(&bad).unwrap_err(),
            UnusableHash::NotBcrypt,
            "{bad}"
        );
    }
}

#[test]
fn a_record_is_checked_again_when_it_is_read() {
    let [pbkdf2, bcrypt] = [
        pbkdf2_record(HASH, SALT, 100_000).unwrap(),
        bcrypt_text(BCRYPT_72),
    ];
    for (record, from, to) in [
        (&pbkdf2, "i=100000", "i=2000001"),
        (&pbkdf2, "i=100000", "i=0"),
        (&pbkdf2, "i=100000", "i=4294967296"),
        (&pbkdf2, ",l=32", ""),
        (&pbkdf2, ",l=32", ",l=64"),
        (&pbkdf2, ",l=32", ",l=32,x=1"),
        (&pbkdf2, "$i=", "$v=1$i="),
        (&pbkdf2, "7v8", ""),
        (&bcrypt, "$04$", "$31$"),
    ] {
        let changed = record.expose().replace(from, to);
        assert_ne!(changed, record.expose());
        let changed = PasswordRecord::new(changed);
        assert!(
            matches!(parse(&changed), Some(Err(HasherError::Record))),
            "{to}"
        );
        assert!(!matches!(parse(&changed), Some(Ok(_))));
    }
    assert!(matches!(
        (parse(&pbkdf2), parse(&bcrypt)),
        (Some(Ok(_)), Some(Ok(_)))
    ));
}

#[test]
fn other_records_are_ignored() {
    for text in [
        "",
        "$argon2id$v=19$m=8,t=1,p=1$AAAA$AAAA",
        "$pbkdf2-sha512$i=1$",
        HASH,
    ] {
        let record = PasswordRecord::new(text.into());
        assert!(parse(&record).is_none(), "{text}");
        assert!(!matches!(parse(&record), Some(Ok(_))));
    }
}

#[test]
fn debug_and_errors_do_not_show_a_hash() {
    let record = bcrypt_text(BCRYPT_72);
    let scheme = parse(&record).unwrap().unwrap();
    assert_eq!(format!("{scheme:?}"), "Bcrypt { cost: 4 }");
    let errors = [
        pbkdf2_record("secret-stuff", SALT, 1),
        bcrypt_record("$2secret-stuff"),
    ];
    for error in errors {
        let error = error.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret-stuff"));
    }
}

proptest! {
    #[test]
    fn garbage_is_rejected_without_a_panic(text in "\\PC{0,80}|[$./0-9a-zA-Z=,\0]{0,120}") {
        prop_assert!(bcrypt_record(&text).is_err());
        prop_assert!(pbkdf2_record(&text, SALT, 1).is_err() || text.len() == 64);
        let _ = pbkdf2_record(HASH, &text, 1);
        for prefix in ["", PBKDF2_PREFIX, "$pbkdf2-sha256$i=1,l=32$", "$2b$04$", "$2"] {
            let record = PasswordRecord::new(format!("{prefix}{text}"));
            // A valid prefix may be followed by 53 valid characters by chance.
            if let Some(Ok(scheme)) = parse(&record) {
                prop_assert!(prefix.len() > 3);
                prop_assert!(!Checker::default().verify(b"", &scheme));
            }
        }
    }

    #[test]
    fn a_damaged_record_is_rejected_or_does_not_match(at in 0usize..60, byte in 0u8..128) {
        let right = format!("{BCRYPT_SALT}{BCRYPT_72}");
        let mut damaged = right.clone().into_bytes();
        let at = at % damaged.len();
        damaged[at] = byte;
        let damaged = String::from_utf8(damaged).unwrap();
        if let Ok(record) = bcrypt_record(&damaged) {
            let is_version = at == 2;
            prop_assert_eq!(
                matches(&[b'x'; 72], &record),
                is_version || damaged == right,
                "{}", damaged
            );
        }
    }
}
