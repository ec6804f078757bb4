//! Admin commands that reach the running daemon publish events.

use serde_json::{Value, json};

use super::Fixture;
use crate::admin::admin;

#[test]
fn each_change_by_the_operator_is_published() {
    let mut fixture = Fixture::new(&[]);
    let workdir = fixture.daemon.workdir();
    let (user, _) = fixture.user_with_factor();
    for (command, kind, event_args) in [
        (
            "reset-password",
            "password_updated",
            json!({"sessions_revoked": true}),
        ),
        (
            "delete-sessions",
            "session_deleted",
            json!({"session_id": null, "all_sessions": true}),
        ),
        (
            "delete-api-tokens",
            "api_token_deleted",
            json!({"token_id": null, "token_name": null, "all_tokens": true}),
        ),
        ("disable-otp", "otp_disabled", json!({})),
    ] {
        admin(&workdir, &[command, &user.name], "other\n").ok();
        let mut expected = json!({
            "kind": kind, "username": user.name, "user_id": user.id, "by": "operator",
            "requested_by": null,
        });
        for (name, value) in event_args.as_object().unwrap() {
            expected[name] = value.clone();
        }
        let event: Value = fixture.next_event_of(kind);
        assert_eq!(event, expected);
        if command == "reset-password" {
            // The command deletes API tokens too.
            let event = fixture.next_event_of("api_token_deleted");
            assert_eq!(event["all_tokens"], true);
            assert_eq!(event["by"], "operator");
        }
    }
}
