//! Draws a QR code as a PNG picture.
//!
//! totp-rs would use the `image` crate, whose colour management takes longer to compile than the
//! rest of the drawing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use png::{BitDepth, ColorType, Encoder, EncodingError};
use qrcodegen::{QrCode, QrCodeEcc};

/// Width and height of a module in pixels.
const MODULE: usize = 8;
/// Width of the light border in modules (ISO/IEC 18004).
const QUIET_ZONE: i32 = 4;

/// Draws the QR code of a text as a PNG in base64. Returns `None` if the text is too long for a
/// QR code.
pub(super) fn draw(text: &str) -> Option<String> {
    let code = QrCode::encode_text(text, QrCodeEcc::Medium).ok()?;
    Some(STANDARD.encode(encode(&code).ok()?))
}

/// Encodes a QR code as a PNG with 8 bits of grey, as Platypush does.
fn encode(code: &QrCode) -> Result<Vec<u8>, EncodingError> {
    let modules = -QUIET_ZONE..code.size() + QUIET_ZONE;
    let mut pixels = Vec::new();
    for y in modules.clone() {
        let row: Vec<u8> = modules
            .clone()
            .flat_map(|x| [if code.get_module(x, y) { 0 } else { 255 }; MODULE])
            .collect();
        pixels.extend(row.repeat(MODULE));
    }
    let width = u32::try_from(modules.len() * MODULE).map_err(|_| EncodingError::LimitsExceeded)?;
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, width, width);
    encoder.set_color(ColorType::Grayscale);
    encoder.set_depth(BitDepth::Eight);
    encoder.write_header()?.write_image_data(&pixels)?;
    Ok(file)
}
