//! Checks of imported API tokens cost hashes, so requests with tokens wait for a turn.

use serde_json::json;

use super::{Node, import, session_owner};
use crate::admin::Way;
use crate::support::Setup;

/// One batch fetches all requests before the first token is hashed.
#[test]
fn tokens_that_would_wait_too_long_are_refused_at_once() {
    let mut setup = Setup::with(&[("MAX_LOGIN_WAIT", "1")]);
    import(&mut setup, Way::Daemon, &Node::copy("workdir"), &[]).ok();
    let tokens = (0..100).map(|n| ("authenticate_api_token", json!([format!("nobody-{n}:x")])));
    let ids = setup.client.send_all(tokens);
    // Look-ups do not wait.
    assert_eq!(session_owner(&mut setup, "none"), None);
    let mut refused = 0;
    for id in &ids {
        let reply = setup.client.reply(id);
        assert_eq!(reply.output(), &json!({"success": false}));
        match reply.errors()[..] {
            ["Invalid API token"] => {}
            [error] if error.starts_with("Too busy, retry in ") => refused += 1,
            _ => panic!("{reply:?}"),
        }
    }
    // One request had its turn and 65 waited, if none was answered in the meantime.
    assert!((1..=34).contains(&refused), "{refused}");
}
