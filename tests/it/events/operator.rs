//! What the operator does is told by the running daemon.

use serde_json::{Value, json};

use super::Scene;
use crate::admin::admin;

#[test]
fn each_change_by_the_operator_is_told() {
    let mut scene = Scene::new(&[]);
    let workdir = scene.daemon.workdir();
    let (user, _) = scene.user_with_factor();
    for (command, kind, said) in [
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
        for (name, value) in said.as_object().unwrap() {
            expected[name] = value.clone();
        }
        let heard: Value = scene.hear_kind(kind);
        assert_eq!(heard, expected);
        if command == "reset-password" {
            // It ends API tokens too.
            let heard = scene.hear_kind("api_token_deleted");
            assert_eq!(heard["all_tokens"], true);
            assert_eq!(heard["by"], "operator");
        }
    }
}
