//! "Did you mean …": the right name nearest to a wrong one.

/// How alike two names must be, of 1: less is a guess that misleads.
const ALIKE: f64 = 0.8;

/// The candidate most like a name, by its whole or by its part after the last
/// dot (a key that was put into the wrong section, or into none).
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let alike = |candidate: &str| {
        let whole = strsim::jaro_winkler(name, candidate);
        let part = strsim::jaro_winkler(last_part(name), last_part(candidate));
        // Of two equally good ones, the one alike as a whole.
        whole.max(part * 0.95)
    };
    candidates
        .map(|candidate| (alike(candidate), candidate))
        .filter(|(score, _)| *score >= ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

fn last_part(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(_, part)| part)
}

/// A name nobody knows, for a message. Where a colon or a quote is missing, a
/// password can end up as part of a name: what does not look like one is left
/// out.
pub(crate) fn shown(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.len() <= 64 && name.chars().all(plain) {
        name.to_owned()
    } else {
        "(name not shown)".to_owned()
    }
}
