//! A QR code in a terminal.

use qrcodegen::{QrCode, QrCodeEcc};

/// Light modules around the code that readers need (ISO/IEC 18004 asks for 4;
/// phones are content with 2).
const QUIET_ZONE: i32 = 2;

/// Draws text as a QR code, two rows of modules to a line. The light modules
/// are drawn, as terminals are dark more often than not, in colours of their
/// own, so that it is right on light ones too. `None` where the text is too
/// long for a code.
pub(super) fn draw(text: &str) -> Option<String> {
    let code = QrCode::encode_text(text, QrCodeEcc::Low).ok()?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_every_module_and_the_quiet_zone() {
        let code = QrCode::encode_text("otpauth://totp/x", QrCodeEcc::Low).unwrap();
        let drawn = draw("otpauth://totp/x").unwrap();
        let lines: Vec<&str> = drawn.lines().collect();
        let width = usize::try_from(code.size() + 2 * QUIET_ZONE).unwrap();
        assert_eq!(lines.len(), width.div_ceil(2));
        for line in &lines {
            let modules = line.trim_start_matches("\x1b[97;40m");
            let modules = modules.trim_end_matches("\x1b[0m");
            assert_eq!(modules.chars().count(), width);
        }
        // The finder pattern's corner is dark, the zone before it light.
        let second: Vec<char> = lines[1].trim_start_matches("\x1b[97;40m").chars().collect();
        assert_eq!(second[..3], ['█', '█', ' ']);
    }
}
