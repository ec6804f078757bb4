//! Checks the links of the documentation and the length of the README.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::Daemon;

/// Maximum number of lines of the README.
const README_LINES: usize = 200;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the pages: three in the root folder and all in `docs`.
fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<_> = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"]
        .iter()
        .map(|name| root().join(name))
        .collect();
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    pages
}

/// Returns the text of a page without its code blocks.
fn prose(page: &Path) -> String {
    let text = fs::read_to_string(page).unwrap();
    let mut is_code = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            lines.push(line);
        }
    }
    lines.join("\n")
}

/// Returns the targets of all links outside code spans.
fn links(prose: &str) -> Vec<String> {
    let mut links = Vec::new();
    for paragraph in prose.split("\n\n") {
        let text: String = paragraph.split('`').step_by(2).collect();
        let targets = text.split("](").skip(1);
        links.extend(targets.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())));
    }
    links
}

/// Returns the anchors that GitHub gives to the headings: in lower case, without punctuation, with
/// hyphens for spaces, and numbered if a heading is repeated.
fn anchors(prose: &str) -> BTreeSet<String> {
    let mut slugs = Vec::new();
    let mut anchors = BTreeSet::new();
    for line in prose.lines() {
        let Some((marks, heading)) = line.split_once(' ') else {
            continue;
        };
        if marks.is_empty() || marks.chars().any(|mark| mark != '#') {
            continue;
        }
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let slug: String = heading.trim().to_lowercase().chars().filter(kept).collect();
        let slug = slug.replace(' ', "-");
        let earlier = slugs.iter().filter(|earlier| **earlier == slug).count();
        anchors.insert(match earlier {
            0 => slug.clone(),
            number => format!("{slug}-{number}"),
        });
        slugs.push(slug);
    }
    anchors
}

#[test]
fn every_relative_link_points_to_a_file_and_a_heading() {
    let mut broken = Vec::new();
    for page in pages() {
        for link in links(&prose(&page)) {
            if link.starts_with("http://") || link.starts_with("https://") {
                continue;
            }
            let (path, anchor) = match link.split_once('#') {
                Some((path, anchor)) => (path, Some(anchor)),
                None => (&*link, None),
            };
            let target = match path {
                "" => page.clone(),
                path => page.parent().unwrap().join(path),
            };
            let exists = target.exists()
                && anchor.is_none_or(|anchor| anchors(&prose(&target)).contains(anchor));
            if !exists {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "broken links: {broken:#?}");
}

#[test]
fn the_readme_is_short() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let lines = readme.lines().count();
    assert!(lines <= README_LINES, "README.md has {lines} lines");
}

#[test]
fn the_pages_of_the_reference_are_those_of_the_program() {
    for page in ["actions", "cli", "configuration", "events", "protocol"] {
        let mut command = Command::new(Daemon::binary());
        let printed = command.args(["reference", page]).output().unwrap().stdout;
        let path = root()
            .join("docs/reference")
            .join(page)
            .with_extension("md");
        let written = fs::read(path).unwrap();
        assert!(printed == written, "{page}.md is stale: run make reference");
    }
}
