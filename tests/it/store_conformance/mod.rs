//! The suite that every store must pass: cases against `dyn Store` through
//! [`Engine`].
//!
//! A second engine is one `impl Engine` and one line `conformance!` below. A
//! case that is not in the table is an unused function, which the compiler
//! reports.

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

/// A store under test, with what it stands on.
pub trait Engine: Send + Sync + 'static {
    /// An empty store.
    fn fresh() -> Self;
    /// One that keeps the failures of so many unknown names.
    fn remembering(max_attempted: u64) -> Self;
    /// The store, open.
    fn store(&self) -> &dyn Store;
    /// Closes the store, and opens what stands on disk then.
    fn reopen(&mut self);
}

struct Sled {
    store: Option<SledStore>,
    folder: TempDir,
    /// Where it is not the daemon's.
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

    fn remembering(max_attempted: u64) -> Self {
        Self::open(Some(max_attempted))
    }

    fn store(&self) -> &dyn Store {
        self.store.as_ref().expect("open but while it reopens")
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
            users::ids_are_never_used_again,
            users::a_user_is_kept_as_it_was_made,
            users::a_taken_name_is_refused_and_uses_no_id,
            users::no_users_is_true_before_the_first_and_after_the_last,
            users::somebody_unknown_cannot_be_deleted,
            users::names_are_compared_byte_for_byte,
            users::users_are_listed_by_id_as_a_number,
            preconditions::a_good_password_serves_for_every_operation,
            preconditions::a_step_serves_for_every_operation_once,
            preconditions::a_stale_password_serves_for_none,
            preconditions::a_valid_session_serves,
            preconditions::a_dead_session_does_not,
            passwords::a_new_password_leaves_all_else_as_it_was,
            passwords::revoking_ends_all_sessions_of_the_user_and_of_nobody_else,
            passwords::a_stronger_record_takes_the_place_of_its_own_weaker_one_only,
            second_factor::is_switched_on_and_off,
            second_factor::any_secret_is_kept,
            second_factor::new_backup_codes_change_nothing_else,
            second_factor::used_steps_of_one_secret_block_no_other,
            second_factor::a_used_step_stays_used_when_the_factor_comes_back,
            second_factor::steps_only_go_forward,
            second_factor::an_operation_that_fails_spends_no_code,
            second_factor::a_backup_code_is_good_once,
            failures::those_of_a_user_are_counted,
            failures::a_success_of_any_kind_forgets_them,
            failures::an_operation_that_is_refused_forgets_none,
            failures::those_of_a_user_who_is_gone_are_not_counted,
            failures::those_of_nobody_are_counted_by_name,
            failures::are_forgotten_on_demand,
            failures::the_name_tried_longest_ago_makes_room,
            failures::all_are_counted_that_come_at_once,
            api_tokens::are_made_with_numbers_that_are_never_used_again,
            api_tokens::have_names_of_their_own_and_a_limit,
            api_tokens::are_found_by_the_name_that_stands_in_them,
            api_tokens::are_ended_by_a_session_of_their_user_alone,
            api_tokens::outlive_a_new_password_and_end_with_their_user,
            outcomes::whoever_was_tried_leaves_one,
            outcomes::whoever_was_refused_leaves_none,
            outcomes::are_forgotten_one_by_one,
            amendments::each_changes_what_it_names_and_nothing_else,
            amendments::what_was_proved_before_serves_for_nothing_after,
            amendments::nobody_cannot_be_amended,
            sealed::the_hash_key_is_kept,
            import::are_let_in_with_all_they_have,
            import::come_all_or_none,
            import::interrupted_leave_nobody,
            import::bring_a_key_only_where_nobody_was,
            import::who_came_is_found_by_origin_and_token_name,
            import::everybody_is_listed_in_pages,
            sealed::what_stands_there_is_replaced_and_nothing_else,
            sealed::what_is_gone_does_not_come_back,
            sessions::a_session_is_kept_as_it_was_made,
            sessions::expiry_is_kept_at_its_extremes,
            sessions::expiry_is_for_the_caller_to_judge,
            sessions::deleting_answers_true_once,
            sessions::deleting_one_that_has_expired_answers_false,
            sessions::deleting_one_without_its_user_answers_false,
            sessions::end_with_their_user,
            sessions::do_not_come_back_with_a_new_user_of_the_name,
            own_sessions::are_listed_for_as_long_as_they_stand,
            own_sessions::one_of_ones_own_can_be_ended,
            own_sessions::all_of_ones_own_can_be_ended,
            own_sessions::looking_for_one_to_end_in_vain_spends_the_code,
            own_sessions::use_is_noted_and_only_goes_forward,
            session_limits::end_sessions_at_their_moment,
            session_limits::what_is_deleted_after_its_end_was_not_there,
            session_limits::the_nearest_end_is_the_one_that_counts,
            sweeping::removes_the_dead_and_nothing_else_in_steps,
            sweeping::an_empty_store_is_swept_in_one_step,
            sweeping::the_last_full_step_is_followed_by_an_empty_one,
            sweeping::a_session_has_expired_at_the_moment_it_names,
            concurrency::of_100_first_users_one_is_made,
            concurrency::of_50_users_of_a_name_one_is_made,
            concurrency::a_step_is_taken_once,
            concurrency::a_backup_code_is_taken_once,
            concurrency::a_password_is_changed_from_once,
            concurrency::a_session_is_deleted_once,
            concurrency::no_session_outlives_its_user,
            durability::all_that_64_did_at_once_is_there_after_reopening,
            durability::every_operation_is_there_after_reopening,
            random_operations::agree_with_the_model,
            linearizability::what_happens_at_once_happens_in_some_order,
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
