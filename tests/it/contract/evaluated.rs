//! Platypush evaluates nothing that the daemon sends: no reply, error or event contains `${`, or
//! text that becomes `${` when it is decoded as JSON. `tests/platypush/test_injection.py` checks
//! this on a real node.

use std::collections::BTreeSet;

use platypush_userd::actions::ACTIONS;
use platypush_userd::events::KINDS;
use redis::Commands as _;
use serde_json::{Value, json};

use crate::support::{Client, Codes, EVALUATED, EVALUATED_ONCE_DECODED, Setup};

const LIST: &str = "home/cellar";
/// Texts of an attacker.
const HOSTILE: &[&str] = &[
    r#"${__import__("os").system("x")}"#,
    "$${x}",
    "${{x}}",
    r#""\u0024{x}""#,
    r#"["\u0024\u007b x}"]"#,
    r#""\"\\u0024{x}\"""#,
    r#""\u005cu0024{x}""#,
];

/// A daemon on a database of a version that did not check names.
struct Probe {
    setup: Setup,
    /// Kinds of the events read so far.
    kinds: BTreeSet<String>,
}

impl Probe {
    fn new(settings: &[(&str, &str)]) -> Self {
        let settings = [&[("EVENTS__PUBLISH", "list:home/cellar")], settings].concat();
        Self {
            setup: Setup::with_hostile_names(&settings),
            kinds: BTreeSet::new(),
        }
    }

    /// Pushes a message and returns its response, after checking that nothing in it is evaluated.
    #[track_caller]
    fn ask(&mut self, mut message: Value) -> Value {
        if message.get("id").is_none() {
            message["id"] = json!(Client::new_id());
        }
        let id = message["id"].as_str().unwrap().to_owned();
        self.setup.client.push(message.to_string());
        let reply = self.setup.client.reply(&id).0;
        assert_eq!(reply["id"], message["id"]);
        let origin = &message["origin"];
        assert_eq!(&reply["target"], origin, "echoed unchanged");
        let Value::Object(mut reply) = reply else {
            panic!("{reply}");
        };
        for echoed in ["id", "target"] {
            reply.remove(echoed);
        }
        let reply = reply.into();
        assert_harmless(&reply);
        self.check_events();
        reply["response"].clone()
    }

    fn call(&mut self, action: &str, args: Value) -> Value {
        self.ask(json!({"action": format!("user.{action}"), "args": args}))
    }

    /// Returns the output of an action that succeeds.
    #[track_caller]
    fn ok(&mut self, action: &str, args: Value) -> Value {
        let response = self.call(action, args);
        assert_eq!(response["errors"], json!([]), "{action}");
        response["output"].clone()
    }

    /// Removes all events from the list and checks that nothing in them is evaluated.
    fn check_events(&mut self) {
        while let Some(event) = self
            .setup
            .client
            .redis
            .lpop::<_, Option<String>>(LIST, None)
            .unwrap()
        {
            let event: Value = serde_json::from_str(&event).unwrap();
            assert_harmless(&event);
            self.kinds
                .insert(event["args"]["kind"].as_str().unwrap().to_owned());
        }
    }
}

#[track_caller]
fn assert_harmless(value: &Value) {
    match value {
        Value::String(text) => {
            assert!(!text.contains("${"), "{text}");
            if let Ok(decoded) = serde_json::from_str(text) {
                assert_harmless(&decoded);
            }
        }
        Value::Array(values) => values.iter().for_each(assert_harmless),
        Value::Object(members) => {
            for (key, value) in members {
                assert_harmless(&json!(key));
                assert_harmless(value);
            }
        }
        _ => {}
    }
}

/// Puts hostile text into every value that an error repeats, for each action.
#[test]
fn errors_never_repeat_text_that_platypush_evaluates() {
    let mut probe = Probe::new(&[]);
    for hostile in HOSTILE {
        for action in ACTIONS {
            let signature = action.signature();
            let full = format!("user.{}", signature.name);
            let valid = |name: &str| match name {
                "dry_run" | "return_details" | "revoke_sessions" => json!(false),
                "expires_at" => Value::Null,
                "id" => json!(1),
                _ => json!("x"),
            };
            let parameters = signature.parameters.iter();
            let args: Value = parameters
                .map(|p| (p.name.to_owned(), valid(p.name)))
                .collect();
            let mut requests = vec![json!({*hostile: 1}), json!(hostile)];
            for parameter in signature.parameters {
                let mut with = args.clone();
                with[parameter.name] = json!(hostile);
                requests.push(with);
            }
            let mut unknown = args.clone();
            unknown[*hostile] = json!(hostile);
            requests.push(unknown);
            for args in requests {
                probe.ask(json!({"action": full, "args": args, "origin": hostile}));
            }
        }
        for action in [
            (*hostile).to_owned(),
            format!("user.{hostile}"),
            format!("{hostile}.x"),
        ] {
            let id = format!("{}{hostile}", Client::new_id());
            probe.ask(json!({"action": action, "id": id, "origin": hostile, "target": hostile}));
        }
        let date = json!({"username": "admin", "password": "pw", "expires_at": hostile});
        let refused = probe.call("create_session", date);
        assert!(
            refused["errors"][0]
                .as_str()
                .unwrap()
                .starts_with("Invalid isoformat")
        );
        let truncated = format!(
            "{}{hostile}",
            "x".repeat(200 - hostile.find('{').unwrap_or(9))
        );
        probe.ask(json!({"action": truncated}));
    }
}

/// Errors of the envelope, one of which also causes a dead letter.
#[test]
fn refusals_never_repeat_text_that_platypush_evaluates() {
    let mut probe = Probe::new(&[("ACCEPT_ANY_TARGET", "false")]);
    for hostile in HOSTILE {
        let foreign =
            probe.ask(json!({"action": "user.get_users", "target": hostile, "origin": hostile}));
        assert!(
            foreign["errors"][0]
                .as_str()
                .unwrap()
                .starts_with("This request is for")
        );
        let id = Client::new_id();
        let text = serde_json::to_string(hostile).unwrap();
        let lone = format!(
            r#"{{"action": {text}, "id": "{id}", "origin": {text}, "args": {{{text}: "\ud800"}}}}"#
        );
        probe.setup.client.push(lone);
        assert_harmless(&probe.setup.client.reply(&id).0["response"]);
    }
    for letter in probe.setup.client.dead_letters() {
        assert_harmless(&letter);
    }
}

/// Outputs of all actions and events of all kinds, for users with hostile names in the store.
#[test]
fn outputs_and_events_never_contain_text_that_platypush_evaluates() {
    let mut probe = Probe::new(&[("THROTTLE__FAILURES", "100")]);
    let mut tested = BTreeSet::new();
    for (number, name) in [EVALUATED, EVALUATED_ONCE_DECODED].into_iter().enumerate() {
        let mut ok = |probe: &mut Probe, action: &'static str, args| {
            tested.insert(action);
            probe.ok(action, args)
        };
        let who = json!({"username": name, "password": "pw"});
        let with = |more: Value| {
            let mut args = who.clone();
            args.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            args
        };
        let by = json!({"executing_user": name, "executing_user_password": "pw"});
        let mut new = json!({"username": format!("new{number}"), "password": "pw"});
        new.as_object_mut()
            .unwrap()
            .extend(by.as_object().unwrap().clone());
        ok(&mut probe, "create_user", new);
        assert_eq!(ok(&mut probe, "authenticate_user", who.clone()), true);
        probe.call(
            "authenticate_user",
            json!({"username": name, "password": "wrong"}),
        );
        let session = ok(&mut probe, "create_session", who.clone());
        assert_ne!(session["username"], json!(name));
        let session = session["session_token"].clone();
        let users = ok(&mut probe, "get_users", json!({}));
        assert_eq!(users.as_array().unwrap().len(), 5);
        ok(&mut probe, "authenticate_session", json!([session]));
        ok(&mut probe, "get_user_by_session", json!([session]));
        ok(&mut probe, "get_sessions", json!([session]));
        let tokens = ok(&mut probe, "get_api_tokens", json!([session]));
        assert_eq!(tokens.as_array().unwrap().len(), 3);
        for token in tokens.as_array().unwrap() {
            ok(
                &mut probe,
                "delete_api_token",
                json!([session, token["id"]]),
            );
        }
        // The token contains the neutralized name and is still found, also after a restart.
        let token = ok(&mut probe, "create_api_token", who.clone());
        assert!(token["name"].as_str().unwrap().contains("__"));
        let token = token["token"].clone();
        ok(&mut probe, "authenticate_api_token", json!([token]));
        assert!(probe.setup.daemon.stop().success());
        probe.setup.daemon.restart();
        let user = ok(&mut probe, "authenticate_api_token", json!([token]));
        assert_eq!(user["user_id"], json!(number + 2));
        let codes = Codes::of("x");
        let enabling = json!({"otp_secret": codes.0.to_base32().as_str(), "code": codes.now()});
        let enabled = ok(&mut probe, "enable_otp", with(enabling));
        let backup = |codes: &Value, n: usize| json!({"code": codes[n]});
        let codes = enabled["backup_codes"].clone();
        let codes = ok(&mut probe, "refresh_backup_codes", with(backup(&codes, 0)));
        probe.call("enable_otp", with(json!({"code": codes[1]})));
        ok(&mut probe, "disable_otp", with(backup(&codes, 0)));
        probe.call("disable_otp", who.clone());
        ok(&mut probe, "delete_session", json!([session]));
        ok(&mut probe, "delete_sessions", who.clone());
        let update = json!({"username": name, "old_password": "pw", "new_password": "pw2"});
        ok(&mut probe, "update_password", update);
        let taken = json!({"username": name, "password": "pw", "executing_user": "admin",
            "executing_user_password": "pw"});
        let exists = probe.call("create_user", taken);
        assert!(
            exists["errors"][0]
                .as_str()
                .unwrap()
                .starts_with("The username contains U+")
        );
        let delete =
            json!({"username": name, "executing_user": "admin", "executing_user_password": "pw"});
        ok(&mut probe, "delete_user", delete.clone());
        let missing = probe.call("delete_user", delete);
        assert!(
            missing["errors"][0]
                .as_str()
                .unwrap()
                .starts_with("No such user: ")
        );
        // The token is deleted too, although it was stored under another name.
        probe.call("authenticate_api_token", json!([token]));
        let new = json!({"username": format!("new{number}"), "executing_user": "admin",
            "executing_user_password": "pw"});
        ok(&mut probe, "delete_user", new);
        // Restores the number of users for the next round.
        let another = json!({"username": format!("other{number}"), "password": "pw", "executing_user": "admin",
            "executing_user_password": "pw"});
        ok(&mut probe, "create_user", another);
    }
    let all: BTreeSet<_> = ACTIONS
        .iter()
        .map(|action| action.signature().name)
        .collect();
    assert_eq!(tested, all, "every action is called here");
    // Events may be published after the replies.
    while probe.kinds.len() < KINDS.len() {
        let popped: Option<(String, String)> = probe.setup.client.redis.blpop(LIST, 60.0).unwrap();
        let event: Value = serde_json::from_str(&popped.expect("an event of each kind").1).unwrap();
        assert_harmless(&event);
        probe
            .kinds
            .insert(event["args"]["kind"].as_str().unwrap().to_owned());
    }
}

/// Events contain the `origin` of a request only if it is a plain name.
#[test]
fn events_contain_only_a_plain_origin() {
    let mut probe = Probe::new(&[]);
    let plain = "Attic_1.local-2:user@host/x";
    for (origin, requested_by) in [
        (plain, json!(plain)),
        ("", json!("")),
        ("${x}", Value::Null),
        ("a b", Value::Null),
        ("é", Value::Null),
        ("a\n", Value::Null),
        ("{x}", Value::Null),
    ] {
        let login =
            json!({"action": "user.create_session", "args": ["admin", "pw"], "origin": origin});
        let id = Client::new_id();
        let mut message = login.clone();
        message["id"] = json!(id);
        probe.setup.client.push(message.to_string());
        assert_eq!(probe.setup.client.reply(&id).0["target"], origin);
        let popped: Option<(String, String)> = probe.setup.client.redis.blpop(LIST, 60.0).unwrap();
        let event: Value = serde_json::from_str(&popped.expect("an event").1).unwrap();
        assert_eq!(event["args"]["requested_by"], requested_by, "{origin:?}");
    }
}

/// New names of users and API tokens.
#[test]
fn new_names_that_are_evaluated_or_invisible_are_refused() {
    let mut setup = Setup::with_alice(&[]);
    for (name, what) in [
        (
            "${x}",
            "U+0024 before U+007B (a dollar sign and a brace), which Platypush would evaluate",
        ),
        (
            "\\u0024",
            "U+005C before uXXXX (an escape of JSON), which Platypush would decode",
        ),
        ("al\0ice", "U+0000, a control or invisible character"),
        ("alice\n", "U+000A, a control or invisible character"),
        ("\u{85}x", "U+0085, a control or invisible character"),
        ("al\u{200b}ice", "U+200B, a control or invisible character"),
        ("\u{202e}ecila", "U+202E, a control or invisible character"),
        ("al\u{2028}ice", "U+2028, a control or invisible character"),
        ("\u{feff}alice", "U+FEFF, a control or invisible character"),
    ] {
        let new = json!({"username": name, "password": "x", "executing_user": "alice",
            "executing_user_password": "secret"});
        let refused = setup.client.call("create_user", new);
        refused.fails(&format!("The username contains {what}: choose another one"));
        let token = json!(["alice", "secret", null, name]);
        let refused = setup.client.call("create_api_token", token);
        refused.fails(&format!(
            "The name of the API token contains {what}: choose another one"
        ));
    }
    for name in [
        "می\u{200c}خواهم",
        "👩\u{200d}🚀",
        "DOMAIN\\user",
        "HOST$",
        "{x}",
        "$ {x}",
    ] {
        let new = json!({"username": name, "password": "x", "executing_user": "alice",
            "executing_user_password": "secret"});
        assert_eq!(setup.client.call("create_user", new).ok()["username"], name);
        let token = json!(["alice", "secret", null, name]);
        assert_eq!(
            setup.client.call("create_api_token", token).ok()["name"],
            name
        );
    }
}
