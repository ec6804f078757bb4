//! A QR code in a terminal.

use qrcodegen::{QrCode, QrCodeEcc, QrSegment, Version};

/// Light modules around the code that readers need (ISO/IEC 18004 asks for 4;
/// phones are content with 2).
const QUIET_ZONE: i32 = 2;
/// The largest version that fits a terminal of 24 lines: 41 modules and twice
/// the quiet zone are 23 lines, and the prompt is the last one. At the lowest
/// level of error correction it holds 134 bytes.
const LARGEST: u8 = 6;

/// Draws an `otpauth` link as a QR code, two rows of modules to a line. The
/// light modules are drawn, as terminals are dark more often than not, in
/// colours of their own, so that it is right on light ones too.
///
/// What is too long for a terminal of 80×24 is drawn without what an
/// authenticator can do without. `None` where even that does not fit.
pub(super) fn draw(uri: &str) -> Option<String> {
    let code = encode(uri).or_else(|| shortened(uri).find_map(|uri| encode(&uri)))?;
    let light = |x: i32, y: i32| !code.get_module(x, y);
    let span = -QUIET_ZONE..code.size() + QUIET_ZONE;
    let mut drawn = String::new();
    for y in span.clone().step_by(2) {
        // White on black, whatever the terminal's own colours are.
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
    let (smallest, largest) = (Version::MIN, Version::new(LARGEST));
    // Of a higher level of error correction where the version has room for it.
    let code =
        QrCode::encode_segments_advanced(&segments, QrCodeEcc::Low, smallest, largest, None, true);
    code.ok()
}

/// The same link with less and less in it: without the issuer beside the
/// label, which has it too; then with the name alone as the label; then with
/// its beginning. The secret and its parameters stay.
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

/// A percent-encoded text without its last character, which may be several
/// encoded bytes.
fn without_last_character(text: &str) -> Option<&str> {
    let mut text = text;
    loop {
        let Some(escape) = text.rfind('%').filter(|escape| escape + 3 == text.len()) else {
            let last = text.char_indices().next_back()?.0;
            return text.get(..last);
        };
        // The first hexadecimal digit of a byte that goes on a character (10xx xxxx).
        let goes_on = matches!(text.as_bytes().get(escape + 1)?, b'8' | b'9' | b'A' | b'B');
        text = text.get(..escape)?;
        if !goes_on {
            return Some(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The modules of a drawn code without the quiet zone, row by row; whether
    /// they are dark.
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
                // The last line has only half a row where the height is odd.
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
        // One line for the prompt.
        assert!(drawn.lines().count() <= 23, "{uri}");
    }

    const SECRET: &str = "TUSJ7ZDRGMMTS5VWRWVD7KKHHSEPCWQ7";

    fn uri(issuer: &str, name: &str) -> String {
        format!("otpauth://totp/{issuer}:{name}?secret={SECRET}&issuer={issuer}")
    }

    #[test]
    fn what_fits_is_drawn_as_it_is() {
        for uri in ["otpauth://totp/x?secret=A", &uri("platypush%40pi", "alice")] {
            assert_draws(uri, uri);
        }
    }

    /// A picture of a name of 40 bytes had more lines than a terminal.
    #[test]
    fn a_long_name_or_host_is_drawn_on_24_lines() {
        let name = "a".repeat(40);
        let issuer = format!("platypush%40{}", "h".repeat(20));
        let label = format!("otpauth://totp/{issuer}:{name}?secret={SECRET}");
        assert_draws(&uri(&issuer, &name), &label);

        let issuer = format!("platypush%40{}", "h".repeat(64));
        let label = format!("otpauth://totp/{name}?secret={SECRET}");
        assert_draws(&uri(&issuer, &name), &label);
    }

    #[test]
    fn a_name_that_is_cut_ends_between_two_characters() {
        // Of three bytes each: 79 bytes are left for the name.
        let name = "%E7%8C%AB".repeat(13);
        let label = format!("otpauth://totp/{}?secret={SECRET}", "%E7%8C%AB".repeat(8));
        assert_draws(&uri("platypush%40pi", &name), &label);
        let label = format!("otpauth://totp/{}?secret={SECRET}", "n".repeat(79));
        assert_draws(&uri("platypush%40pi", &"n".repeat(255)), &label);
    }

    #[test]
    fn what_never_fits_is_not_drawn() {
        let secret = "A".repeat(200);
        assert_eq!(draw(&format!("otpauth://totp/x?secret={secret}")), None);
    }
}
