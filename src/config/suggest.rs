//! "Did you mean …": finds the known name that is most similar to an unknown one.

/// Minimum similarity of a suggestion, from 0 to 1. A less similar one would mislead.
const MIN_SIMILARITY: f64 = 0.8;

/// Returns the candidate that is most similar to a name. Compares whole names and the parts after
/// the last dot, for a key in the wrong section or in none.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let similarity = |candidate: &str| {
        let whole = strsim::jaro_winkler(name, candidate);
        let part = strsim::jaro_winkler(last_part(name), last_part(candidate));
        // Prefers a similar whole name to an equally similar part.
        whole.max(part * 0.95)
    };
    candidates
        .map(|candidate| (similarity(candidate), candidate))
        .filter(|(score, _)| *score >= MIN_SIMILARITY)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

fn last_part(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(_, part)| part)
}

/// Returns an unknown name for a message, or a placeholder if it does not look like a name: without
/// a colon or quote, a password can become part of a name.
pub(crate) fn display_name(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.len() <= 64 && name.chars().all(plain) {
        name.to_owned()
    } else {
        "(name not shown)".to_owned()
    }
}
