//! The search for the file, the order of the layers, and the sources in a dump.

use std::fs;
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret as _;
use tempfile::TempDir;

use super::{defaults, env, load_text, problems};
use crate::config::{Environment, Loaded, keys, load};

#[test]
fn null_keeps_the_default() {
    let all_null: String = keys::ALL
        .iter()
        .filter(|key| key.section().is_none())
        .map(|key| format!("{}: null\n", key.name()))
        .collect();
    let loaded = load_text(&format!("{all_null}redis:\nlog: ~\n"), &env()).unwrap();
    assert_eq!(loaded.dump(), defaults().dump());
}

/// Regression: an editor had inserted a byte order mark before the first key.
#[test]
fn a_byte_order_mark_is_ignored() {
    let loaded = load_text("\u{feff}device_id: marked\n", &env()).unwrap();
    assert_eq!(loaded.config.device_id, "marked");
}

#[test]
fn the_first_file_of_the_search_order_is_read() {
    let root = TempDir::new().unwrap();
    let create_parent = |path: &str| -> PathBuf {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    };
    let search_order = [
        create_parent("named.yaml"),
        create_parent("variable.yaml"),
        create_parent("current/platypush-userd.yaml"),
        create_parent("xdg/platypush-userd/config.yaml"),
        create_parent("etc/platypush-userd/config.yaml"),
    ];
    let mut env = env().with("XDG_CONFIG_HOME", root.path().join("xdg"));
    env.current_dir = Some(root.path().join("current"));
    env.system_dir = Some(root.path().join("etc"));
    let with_variable = env.clone().with("PLATYPUSH_USERD_CONFIG", &search_order[1]);
    assert_eq!(load(None, &env).unwrap().file, None);
    // From the last to the first, so that each file must precede all files created before it.
    for (rank, path) in search_order.iter().enumerate().rev() {
        fs::write(path, format!("device_id: 'file {rank}'")).unwrap();
        let explicit = (rank == 0).then_some(path.as_path());
        let env = if rank < 2 { &with_variable } else { &env };
        let loaded = load(explicit, env).unwrap();
        assert_eq!(loaded.config.device_id, format!("file {rank}"));
        assert_eq!(loaded.file.as_ref(), Some(path));
    }
    let home = create_parent("home/.config/platypush-userd/config.yaml");
    fs::write(&home, "device_id: home").unwrap();
    // A relative XDG folder is ignored.
    let env = Environment::empty()
        .with("HOME", root.path().join("home"))
        .with("XDG_CONFIG_HOME", "xdg");
    assert_eq!(load(None, &env).unwrap().config.device_id, "home");
}

#[test]
fn a_named_file_must_exist() {
    let missing = Path::new("/nowhere/config.yaml");
    let error = load(Some(missing), &env()).err().unwrap().to_string();
    let start = "/nowhere/config.yaml: cannot be read: ";
    assert!(error.starts_with(start), "{error}");
    let env = env().with("PLATYPUSH_USERD_CONFIG", missing);
    let error = load(None, &env).err().unwrap().to_string();
    assert!(error.starts_with(start), "{error}");
    assert!(
        error.ends_with("(PLATYPUSH_USERD_CONFIG names it)"),
        "{error}"
    );
    let folder = TempDir::new().unwrap();
    let error = load(Some(folder.path()), &env).err().unwrap().to_string();
    assert!(error.contains("cannot be read"), "{error}");
}

/// Regression: a command of root named a variable that only the daemon itself had set.
#[test]
fn a_file_that_the_owner_cannot_read_is_explained_to_root() {
    let env = env()
        .with("PLATYPUSH_USERD_CONFIG", "/nowhere/config.yaml")
        .with("PLATYPUSH_USERD_AS_OWNER", "1");
    let error = load(None, &env).err().unwrap().to_string();
    assert!(
        error.contains("runs as the owner of the working directory"),
        "{error}"
    );
    assert!(!error.contains("PLATYPUSH_USERD_CONFIG"), "{error}");
}

#[test]
fn the_default_workdir_is_that_of_systemd_or_of_the_user() {
    let workdir = |env: Environment| load(None, &env).unwrap().config.workdir;
    let xdg = env().with("XDG_DATA_HOME", "/data");
    assert_eq!(workdir(xdg.clone()), Path::new("/data/platypush-userd"));
    let systemd = xdg.with("STATE_DIRECTORY", "/var/lib/userd:/var/lib/other");
    assert_eq!(workdir(systemd), Path::new("/var/lib/userd"));
    let error = load(None, &Environment::empty()).err().unwrap();
    assert_eq!(
        error.to_string(),
        "workdir must be set: none of $STATE_DIRECTORY, $XDG_DATA_HOME and $HOME is set"
    );
}

#[test]
fn an_address_and_address_keys_exclude_each_other() {
    let url = "PLATYPUSH_USERD_REDIS__URL";
    let both = "redis:\n  url: redis://a\n  ssl: false\n  db: 1\n";
    assert_eq!(
        problems(both, &env()),
        [
            "config.yaml:3: redis.ssl cannot be combined with redis.url (FILE:2): set one or the other",
            "config.yaml:4: redis.db cannot be combined with redis.url (FILE:2): set one or the other",
        ]
        .map(|line| line.replace("FILE", "config.yaml"))
    );
    // A variable does not complete the address of the file, ...
    let with_password = env().with("PLATYPUSH_USERD_REDIS__PASSWORD", "hunter2");
    let found = problems("redis:\n  url: redis://a\n", &with_password);
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("PLATYPUSH_USERD_REDIS__PASSWORD: redis.password cannot"));
    // ... but its other keys.
    let loaded = load_text("redis:\n  host: '::1'\n  ssl: yes\n", &with_password).unwrap();
    let exposed = |loaded: &Loaded| loaded.config.redis.url.expose_secret().to_owned();
    assert_eq!(exposed(&loaded), "rediss://:hunter2@[::1]:6379/0");
    // An address in a variable overrides the keys of the file.
    let text = "redis:\n  host: a\n  ssl: true\n  ssl_ca_certs: /ca.pem\n";
    let loaded = load_text(text, &env().with(url, "redis://b")).unwrap();
    assert_eq!(exposed(&loaded), "redis://b");
    assert!(loaded.config.redis.tls.is_none());
    let loaded = load_text(text, &env().with(url, "rediss://b")).unwrap();
    let ca_certs = loaded.config.redis.tls.unwrap().ca_certs;
    assert_eq!(ca_certs.as_deref(), Some(Path::new("/ca.pem")));
    let found = problems("redis:\n  url: rediss://b\n  ssl_keyfile: /k\n", &env());
    assert_eq!(
        found,
        ["config.yaml:3: redis.ssl_keyfile requires redis.ssl_certfile"]
    );
}

#[test]
fn a_dump_shows_the_source_of_each_value() {
    let env = env().with("PLATYPUSH_USERD_QUEUE", "q");
    let loaded = load_text("redis:\n  host: a\nlog:\n  level: WARN\n", &env).unwrap();
    let dump = loaded.dump();
    let folder = loaded.file.as_ref().unwrap().parent().unwrap();
    let folder = folder.display();
    let dump = dump.replace(&format!("{folder}/"), "");
    for line in [
        "device_id: \"localhost\"  # computed: host name",
        "workdir: \"/home/demo/.local/share/platypush-userd\"  # computed: $HOME",
        "redis:",
        "  url: null  # default, overridden by redis.host (config.yaml:2)",
        "  host: \"a\"  # config.yaml:2",
        "queue: \"q\"  # environment PLATYPUSH_USERD_QUEUE",
        "reply_ttl: 60  # default",
        "  threads: 1  # computed: processor cores",
        "  level: \"warn\"  # config.yaml:4",
    ] {
        assert!(dump.lines().any(|found| found == line), "{line}\n{dump}");
    }
}

#[test]
fn only_variables_of_keys_must_be_utf_8() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let bytes = OsStr::from_bytes(b"/\xff");
    let env = Environment::empty().with("HOME", bytes).with(bytes, bytes);
    assert!(load(None, &env).unwrap().config.workdir.starts_with(bytes));
    let error = load(None, &env.with("PLATYPUSH_USERD_QUEUE", bytes));
    let error = error.err().unwrap().to_string();
    assert_eq!(error, "PLATYPUSH_USERD_QUEUE: queue must be UTF-8");
}
