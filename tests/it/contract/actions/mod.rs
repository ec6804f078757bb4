//! The cases of each action. A new action needs a file here and an entry in `cases_of!`.

mod authenticate_api_token;
mod authenticate_session;
mod authenticate_user;
mod create_api_token;
mod create_session;
mod create_user;
mod delete_api_token;
mod delete_session;
mod delete_sessions;
mod delete_user;
mod disable_otp;
mod enable_otp;
mod get_api_tokens;
mod get_sessions;
mod get_user_by_session;
mod get_users;
mod refresh_backup_codes;
mod update_password;

use super::case::{Case, run_all};

/// Defines the table of all cases and one test per action.
macro_rules! cases_of {
    ($($action:ident)*) => {
        /// The cases of each action.
        pub static CASES: &[(&str, &[Case])] = &[
            $((stringify!($action), $action::CASES)),*
        ];

        mod run_cases {
            $(#[test]
            fn $action() {
                super::run_all(stringify!($action), super::$action::CASES);
            })*
        }
    };
}

cases_of! {
    create_user
    authenticate_user
    update_password
    delete_user
    create_session
    authenticate_session
    delete_session
    get_users
    get_user_by_session
    enable_otp
    disable_otp
    refresh_backup_codes
    get_sessions
    delete_sessions
    create_api_token
    authenticate_api_token
    get_api_tokens
    delete_api_token
}
