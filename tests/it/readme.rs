//! The README's tables, held against the tables in the code.

use platypush_userd::actions::ACTIONS;
use platypush_userd::config::keys;
use platypush_userd::events::KINDS;

const README: &str = include_str!("../../README.md");

#[test]
fn every_action_has_its_row_with_all_arguments_in_order() {
    for action in ACTIONS {
        let signature = action.signature();
        let arguments: Vec<_> = signature
            .parameters
            .iter()
            .map(|parameter| {
                if parameter.required {
                    format!("`{}`", parameter.name)
                } else {
                    format!("[`{}`]", parameter.name)
                }
            })
            .collect();
        let row = format!("| `user.{}` | {}", signature.name, arguments.join(", "));
        assert!(README.contains(row.trim_end()), "no row {row}");
    }
}

#[test]
fn every_key_stands_in_the_table() {
    for key in keys::ALL {
        let row = README
            .lines()
            .any(|line| line.starts_with("| `") && line.contains(&format!("`{}`", key.path)));
        assert!(row, "no row for {}", key.path);
    }
}

#[test]
fn every_kind_of_event_stands_in_the_table() {
    for kind in KINDS {
        let row = README.lines().any(|line| {
            let first = line
                .strip_prefix("| ")
                .and_then(|row| row.split(" | ").next());
            first.is_some_and(|first| first.contains(&format!("`{kind}`")))
        });
        assert!(row, "no row for {kind}");
    }
}
