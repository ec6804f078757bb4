//! Test suite for every store engine: cases against `dyn Store` through [`Engine`].
//!
//! A further engine needs an `impl Engine` and one `conformance!` line below. The compiler reports
//! a case that is missing in the table as an unused function.

mod amendments;
mod api_tokens;
pub mod bench;
mod concurrency;
mod durability;
mod failures;
mod import;
mod linearizability;
mod memory;
mod model;
mod operations;
mod outcomes;
mod own_sessions;
mod passwords;
mod preconditions;
mod random_operations;
mod sealed;
mod second_factor;
mod session_limits;
mod sessions;
mod sweeping;
mod users;

use platypush_userd::store::{
    Store,
    sled::{Bounds, SledStore},
};
use tempfile::TempDir;

use crate::support::wait_until_closed;

/// Store engine under test.
pub trait Engine: Send + Sync + 'static {
    /// Returns an empty store.
    fn fresh() -> Self;
    /// Returns an empty store that keeps the failures of at most `max_attempted` unknown names.
    fn with_max_attempted(max_attempted: u64) -> Self;
    /// Returns the open store.
    fn store(&self) -> &dyn Store;
    /// Closes the store and opens it from disk.
    fn reopen(&mut self);
}

struct Sled {
    store: Option<SledStore>,
    folder: TempDir,
    /// `None`: the default of [`Bounds`].
    max_attempted: Option<u64>,
}

impl Sled {
    fn open(max_attempted: Option<u64>) -> Self {
        let mut sled = Self {
            store: None,
            folder: tempfile::tempdir().unwrap(),
            max_attempted,
        };
        sled.reopen();
        sled
    }
}

impl Engine for Sled {
    fn fresh() -> Self {
        Self::open(None)
    }

    fn with_max_attempted(max_attempted: u64) -> Self {
        Self::open(Some(max_attempted))
    }

    fn store(&self) -> &dyn Store {
        self.store.as_ref().expect("closed only during reopen")
    }

    fn reopen(&mut self) {
        drop(self.store.take());
        wait_until_closed(self.folder.path());
        let opened = match self.max_attempted {
            None => SledStore::open(self.folder.path()),
            Some(bound) => {
                let bounds = Bounds {
                    max_attempted: bound,
                    ..Bounds::default()
                };
                SledStore::open_bounded(self.folder.path(), bounds)
            }
        };
        self.store = Some(opened.unwrap());
    }
}

macro_rules! conformance {
    ($name:ident: $engine:ty) => {
        conformance! { $name: $engine =>
            users::ids_grow_from_one_without_gaps,
            users::ids_are_never_reused,
            users::a_user_is_stored_as_created,
            users::a_taken_name_is_refused_and_uses_no_id,
            users::no_users_holds_before_the_first_user_and_after_the_last,
            users::an_unknown_user_cannot_be_deleted,
            users::names_are_compared_byte_for_byte,
            users::users_are_listed_in_numeric_order_of_ids,
            preconditions::a_correct_password_authorizes_every_operation,
            preconditions::a_step_authorizes_one_operation,
            preconditions::a_stale_password_authorizes_no_operation,
            preconditions::a_valid_session_is_accepted,
            preconditions::a_dead_session_is_refused,
            passwords::a_new_password_changes_nothing_else,
            passwords::revoking_ends_all_sessions_of_the_user_only,
            passwords::a_rehashed_record_replaces_only_its_original,
            second_factor::is_switched_on_and_off,
            second_factor::any_secret_is_stored,
            second_factor::new_backup_codes_change_nothing_else,
            second_factor::used_steps_of_a_secret_do_not_block_other_secrets,
            second_factor::a_used_step_stays_used_after_the_factor_is_enabled_again,
            second_factor::steps_only_go_forward,
            second_factor::a_failed_operation_uses_no_code,
            second_factor::a_backup_code_is_accepted_once,
            failures::failures_of_a_user_are_counted,
            failures::any_success_resets_the_failures,
            failures::a_refused_operation_resets_no_failures,
            failures::failures_of_a_deleted_user_are_not_counted,
            failures::failures_of_unknown_names_are_counted_by_name,
            failures::failures_are_reset_on_demand,
            failures::the_name_with_the_oldest_attempt_is_evicted,
            failures::concurrent_failures_are_all_counted,
            api_tokens::ids_of_api_tokens_are_never_reused,
            api_tokens::names_are_unique_and_the_number_of_tokens_is_limited,
            api_tokens::users_are_found_by_the_name_in_a_token,
            api_tokens::only_a_session_of_the_user_deletes_a_token,
            api_tokens::tokens_survive_a_new_password_and_end_with_their_user,
            outcomes::an_operation_with_an_effect_records_an_outcome,
            outcomes::a_refused_operation_records_no_outcome,
            outcomes::outcomes_are_removed_individually,
            amendments::an_update_changes_nothing_else,
            amendments::a_precondition_from_before_an_update_conflicts,
            amendments::an_unknown_user_cannot_be_updated,
            sealed::the_hash_key_is_stored,
            import::users_are_imported_with_all_their_data,
            import::an_import_is_complete_or_has_no_effect,
            import::an_interrupted_import_leaves_no_user,
            import::a_hash_key_is_accepted_only_by_a_new_store,
            import::imported_users_are_found_by_origin_and_token_name,
            import::users_and_sessions_are_listed_in_pages,
            sealed::only_an_unchanged_item_is_resealed,
            sealed::a_removed_item_is_not_restored,
            sessions::a_session_is_stored_as_created,
            sessions::extreme_expiry_times_are_stored,
            sessions::expired_sessions_are_returned,
            sessions::deleting_returns_true_once,
            sessions::deleting_an_expired_session_returns_false,
            sessions::deleting_a_session_without_its_user_returns_false,
            sessions::sessions_end_with_their_user,
            sessions::sessions_are_not_revived_by_a_new_user_with_the_same_name,
            own_sessions::sessions_are_listed_until_they_end,
            own_sessions::a_user_can_end_one_session,
            own_sessions::a_user_can_end_all_sessions,
            own_sessions::ending_an_unknown_session_uses_the_code,
            own_sessions::the_time_of_last_use_only_increases,
            session_limits::limits_end_sessions_at_the_exact_time,
            session_limits::deleting_a_session_past_its_limit_returns_false,
            session_limits::the_earliest_limit_applies,
            sweeping::only_dead_sessions_are_removed_in_steps,
            sweeping::an_empty_store_is_swept_in_one_step,
            sweeping::the_last_full_step_is_followed_by_an_empty_one,
            sweeping::a_session_expires_at_its_exact_time,
            concurrency::of_100_concurrent_first_users_one_is_created,
            concurrency::of_50_concurrent_users_of_a_name_one_is_created,
            concurrency::a_step_is_used_once,
            concurrency::a_backup_code_is_used_once,
            concurrency::a_password_record_is_replaced_once,
            concurrency::a_session_is_deleted_once,
            concurrency::no_session_outlives_its_user,
            durability::changes_of_64_threads_survive_reopening,
            durability::every_operation_survives_reopening,
            random_operations::agree_with_the_model,
            linearizability::concurrent_operations_are_linearizable,
        }
    };
    ($name:ident: $engine:ty => $($subject:ident::$case:ident),* $(,)?) => {
        mod $name {
            $(
                #[test]
                fn $case() {
                    super::$subject::$case::<$engine>();
                }
            )*
        }
    };
}

conformance!(sled: super::Sled);
conformance!(in_memory: super::memory::Memory);
