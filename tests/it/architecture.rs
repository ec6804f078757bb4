//! Compares the table of rooms in `ARCHITECTURE.md` with the code. A room is a module of `src/lib.rs`.
//!
//! Comments, files and folders named `tests`, and `mod tests` at the end of a file do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const ARCHITECTURE: &str = include_str!("../../ARCHITECTURE.md");
const LIB: &str = include_str!("../../src/lib.rs");
const SRC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

/// Returns the names of all rooms.
fn rooms() -> BTreeSet<&'static str> {
    let modules = LIB.lines().filter_map(|line| {
        let name = line.strip_prefix("pub ").unwrap_or(line);
        name.strip_prefix("mod ")?.strip_suffix(';')
    });
    modules.collect()
}

/// Returns the third cell of each row of the table of rooms.
fn documented() -> BTreeMap<&'static str, &'static str> {
    let (_, section) = ARCHITECTURE.split_once("\n## Rooms\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [room, _, uses] = cells[..] else {
            return None;
        };
        Some((room.strip_prefix('`')?.strip_suffix('`')?, uses))
    });
    rows.collect()
}

/// Adds the source files at a path to `files`: the file, or all files of the folder.
fn add_files(path: &Path, files: &mut Vec<PathBuf>) {
    if path.file_stem().is_some_and(|name| name == "tests") {
        return;
    }
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            add_files(&entry.unwrap().path(), files);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") && path.exists() {
        files.push(path.to_owned());
    }
}

/// Returns the lines of code of a room, each with the path of its file below `src`.
fn code(room: &str) -> Vec<(String, String)> {
    let mut files = Vec::new();
    let module = Path::new(SRC).join(room);
    add_files(&module.with_extension("rs"), &mut files);
    if module.is_dir() {
        add_files(&module, &mut files);
    }
    assert!(!files.is_empty(), "no source file of {room}");
    let mut code = Vec::new();
    for file in files {
        let name = file.strip_prefix(SRC).unwrap().to_str().unwrap();
        let text = fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("//"));
        code.extend(lines.map(|line| (name.to_owned(), line.to_owned())));
    }
    code
}

/// Returns the rooms that each room uses.
fn used() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let rooms = rooms();
    let uses_of = |room: &'static str| {
        let mut used: BTreeSet<&'static str> = BTreeSet::new();
        for (file, line) in code(room) {
            for path in line.split("crate::").skip(1) {
                assert!(!path.starts_with('{'), "{file}: one room per `use`: {line}");
                let end = path.find(|c: char| !c.is_alphanumeric() && c != '_');
                let name = &path[..end.unwrap_or(path.len())];
                // Any other name is that of a macro.
                used.extend(rooms.get(name).filter(|used| **used != room));
            }
        }
        (room, used)
    };
    rooms.iter().copied().map(uses_of).collect()
}

#[test]
fn the_table_has_every_room_and_the_rooms_that_it_uses() {
    let documented = documented();
    let mut wrong = Vec::new();
    for (room, used) in used() {
        let names: Vec<_> = used.iter().map(|name| format!("`{name}`")).collect();
        let expected = if names.is_empty() {
            "none".into()
        } else {
            names.join(", ")
        };
        match documented.get(room) {
            None => wrong.push(format!("{room} has no row; it uses {expected}")),
            Some(found) if *found != expected => {
                wrong.push(format!(
                    "{room}\n  uses       {expected}\n  documented {found}"
                ));
            }
            Some(_) => {}
        }
    }
    let rooms = rooms();
    let unknown = documented.keys().filter(|room| !rooms.contains(*room));
    wrong.extend(unknown.map(|room| format!("{room} is not a module of src/lib.rs")));
    assert!(
        wrong.is_empty(),
        "ARCHITECTURE.md, Rooms:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn no_room_uses_itself_through_others() {
    let mut rest = used();
    // Removes rooms that use no other remaining room, until only cycles and their users remain.
    loop {
        let is_leaf =
            |used: &BTreeSet<&'static str>| used.iter().all(|used| !rest.contains_key(used));
        let leaf = rest.iter().find(|(_, used)| is_leaf(used));
        let Some(leaf) = leaf.map(|(room, _)| *room) else {
            break;
        };
        rest.remove(leaf);
    }
    assert!(rest.is_empty(), "a cycle among {rest:#?}");
}

/// Only the engine itself and the composition root name sled, and only `cli` names clap.
#[test]
fn dependencies_stay_in_their_rooms() {
    let mut misplaced = Vec::new();
    for room in rooms() {
        for (file, line) in code(room) {
            let may_name_sled = file.starts_with("store/sled") || room == "daemon";
            let is_declaration = file == "store/mod.rs" && line == "pub mod sled;";
            if line.contains("sled") && !may_name_sled && !is_declaration
                || line.contains("clap") && room != "cli"
            {
                misplaced.push(format!("src/{file}: {line}"));
            }
        }
    }
    assert_eq!(misplaced, Vec::<String>::new());
}
