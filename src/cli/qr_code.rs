//! Draws a QR code in a terminal.

use qrcodegen::{QrCode, QrCodeEcc, QrSegment, Version};

/// Width of the light border in modules (ISO/IEC 18004 requires 4; phones accept 2).
const QUIET_ZONE: i32 = 2;
/// Largest version that fits a terminal of 24 lines: 41 modules and twice the quiet zone take 23
/// lines, and the prompt takes the last one. At the lowest level of error correction it holds 134
/// bytes.
const MAX_VERSION: u8 = 6;

/// Draws an `otpauth` URI as a QR code, two rows of modules a line. It draws the light modules,
/// because most terminals are dark, and sets both colours, so that the code is right on light
/// terminals, too.
///
/// A URI that is too long for a terminal of 80×24 is drawn without its optional parts. Returns
/// `None` if even that does not fit.
pub(super) fn draw(uri: &str) -> Option<String> {
    let code = encode(uri).or_else(|| shortened(uri).find_map(|uri| encode(&uri)))?;
    let light = |x: i32, y: i32| !code.get_module(x, y);
    let span = -QUIET_ZONE..code.size() + QUIET_ZONE;
    let mut drawn = String::new();
    for y in span.clone().step_by(2) {
        // White on black, independent of the terminal's colours.
        drawn.push_str("\x1b[97;40m");
        for x in span.clone() {
            drawn.push(match (light(x, y), light(x, y + 1)) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        drawn.push_str("\x1b[0m\n");
    }
    Some(drawn)
}

fn encode(text: &str) -> Option<QrCode> {
    let segments = QrSegment::make_segments(text);
    let (smallest, largest) = (Version::MIN, Version::new(MAX_VERSION));
    // Raises the level of error correction if the version has space for it.
    let code =
        QrCode::encode_segments_advanced(&segments, QrCodeEcc::Low, smallest, largest, None, true);
    code.ok()
}

/// Returns ever shorter forms of a URI: first without the `issuer` parameter, which the label
/// repeats; then with the name alone as the label; then with the name cut at the end. The secret
/// and its parameters stay.
fn shortened(uri: &str) -> impl Iterator<Item = String> {
    let (start, query) = uri.split_once('?').unwrap_or((uri, ""));
    let query: Vec<_> = query
        .split('&')
        .filter(|parameter| !parameter.starts_with("issuer="))
        .collect();
    let query = query.join("&");
    let (scheme, label) = start.rsplit_once('/').unwrap_or(("", start));
    let name = label.split_once(':').map_or(label, |(_, name)| name);
    let names = std::iter::successors(Some(name), |name| without_last_character(name));
    std::iter::once(label)
        .chain(names)
        .map(move |label| format!("{scheme}/{label}?{query}"))
}

/// Returns a percent-encoded text without its last character, which may take several
/// encoded bytes.
fn without_last_character(text: &str) -> Option<&str> {
    let mut text = text;
    loop {
        let Some(escape) = text.rfind('%').filter(|escape| escape + 3 == text.len()) else {
            let last = text.char_indices().next_back()?.0;
            return text.get(..last);
        };
        // A continuation byte of UTF-8 (10xx xxxx) begins with one of these digits.
        let is_continuation = matches!(text.as_bytes().get(escape + 1)?, b'8' | b'9' | b'A' | b'B');
        text = text.get(..escape)?;
        if !is_continuation {
            return Some(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns whether each module of a drawn code is dark, row by row, without the quiet zone.
    fn modules(drawn: &str) -> Vec<Vec<bool>> {
        let mut rows = Vec::new();
        for line in drawn.lines() {
            let line = line.trim_start_matches("\x1b[97;40m");
            let line = line.trim_end_matches("\x1b[0m");
            let dark = |upper: bool| {
                let light = if upper {
                    ['█', '▀']
                } else {
                    ['█', '▄']
                };
                line.chars()
                    .map(move |c| !light.contains(&c))
                    .collect::<Vec<_>>()
            };
            rows.extend([dark(true), dark(false)]);
        }
        let zone = usize::try_from(QUIET_ZONE).unwrap();
        let size = rows[0].len() - 2 * zone;
        let is_zone = |(x, y): (usize, usize)| {
            !(zone..zone + size).contains(&x) || !(zone..zone + size).contains(&y)
        };
        for (y, row) in rows.iter().enumerate() {
            for (x, dark) in row.iter().enumerate() {
                // With an odd height, the lower half of the last line is empty.
                assert!(
                    !is_zone((x, y)) || !dark || y >= size + 2 * zone,
                    "{x}, {y}"
                );
            }
        }
        let rows = rows.into_iter().skip(zone).take(size);
        rows.map(|row| row[zone..zone + size].to_vec()).collect()
    }

    #[track_caller]
    fn assert_draws(uri: &str, drawn_uri: &str) {
        let drawn = draw(uri).unwrap();
        let code = encode(drawn_uri).unwrap();
        let expected: Vec<Vec<bool>> = (0..code.size())
            .map(|y| (0..code.size()).map(|x| code.get_module(x, y)).collect())
            .collect();
        assert_eq!(modules(&drawn), expected, "{uri}");
        // One line of 24 is for the prompt.
        assert!(drawn.lines().count() <= 23, "{uri}");
    }

    const SECRET: &str = "TUSJ7ZDRGMMTS5VWRWVD7KKHHSEPCWQ7";

    fn uri(issuer: &str, name: &str) -> String {
        format!("otpauth://totp/{issuer}:{name}?secret={SECRET}&issuer={issuer}")
    }

    #[test]
    fn a_uri_that_fits_is_drawn_unchanged() {
        for uri in ["otpauth://totp/x?secret=A", &uri("platypush%40pi", "alice")] {
            assert_draws(uri, uri);
        }
    }

    /// Regression: the code for a name of 40 bytes had more lines than a terminal.
    #[test]
    fn a_long_name_or_host_fits_24_lines() {
        let name = "a".repeat(40);
        let issuer = format!("platypush%40{}", "h".repeat(20));
        let label = format!("otpauth://totp/{issuer}:{name}?secret={SECRET}");
        assert_draws(&uri(&issuer, &name), &label);

        let issuer = format!("platypush%40{}", "h".repeat(64));
        let label = format!("otpauth://totp/{name}?secret={SECRET}");
        assert_draws(&uri(&issuer, &name), &label);
    }

    #[test]
    fn a_name_is_cut_between_two_characters() {
        // Three bytes a character; the URI has space for 79 bytes of the name.
        let name = "%E7%8C%AB".repeat(13);
        let label = format!("otpauth://totp/{}?secret={SECRET}", "%E7%8C%AB".repeat(8));
        assert_draws(&uri("platypush%40pi", &name), &label);
        let label = format!("otpauth://totp/{}?secret={SECRET}", "n".repeat(79));
        assert_draws(&uri("platypush%40pi", &"n".repeat(255)), &label);
    }

    #[test]
    fn a_secret_that_never_fits_is_not_drawn() {
        let secret = "A".repeat(200);
        assert_eq!(draw(&format!("otpauth://totp/x?secret={secret}")), None);
    }
}
