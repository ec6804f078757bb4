use serde_json::json;

use crate::support::Setup;

#[test]
fn a_user_is_created_and_logs_in() {
    let mut setup = Setup::with_alice(&[]);
    let client = &mut setup.client;
    let session = client.call(
        "create_session",
        json!({"username": "alice", "password": "secret"}),
    );
    let token = session.ok()["session_token"].clone();
    let user = client.call("authenticate_session", json!([token]));
    assert_eq!(user.ok()["username"], "alice");
    assert!(setup.daemon.stop().success());
    setup.client.assert_nothing_left();
}
