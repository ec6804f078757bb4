//! The QR code that a phone reads, decoded to its modules.

use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use qrcodegen::{QrCode, QrCodeEcc};

/// Readers need a border of so many modules (ISO/IEC 18004).
const QUIET_ZONE: usize = 4;

pub struct QrPicture {
    width: usize,
    /// Row by row; whether it is dark.
    pixels: Vec<bool>,
}

impl QrPicture {
    /// A grey picture of 8 bits.
    pub fn of_data_uri(uri: &str) -> Self {
        let base64 = uri.strip_prefix("data:image/png;base64,").unwrap();
        let file = STANDARD.decode(base64).unwrap();
        let mut reader = png::Decoder::new(Cursor::new(file)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let frame = reader.next_frame(&mut pixels).unwrap();
        assert_eq!(frame.width, frame.height);
        assert_eq!(frame.color_type, png::ColorType::Grayscale);
        assert_eq!(frame.bit_depth, png::BitDepth::Eight);
        Self {
            width: usize::try_from(frame.width).unwrap(),
            pixels: pixels.into_iter().map(|grey| grey < 128).collect(),
        }
    }

    /// Asserts that each module is that of the QR code of `text`, and that
    /// the border is wide enough.
    #[track_caller]
    pub fn assert_shows(&self, text: &str) {
        let code = QrCode::encode_text(text, QrCodeEcc::Medium).unwrap();
        let modules = usize::try_from(code.size()).unwrap();
        // The first dark pixel is a corner of a pattern that finders look for.
        let first = self.pixels.iter().position(|dark| *dark).unwrap();
        let (left, top) = (first % self.width, first / self.width);
        assert_eq!(left, top, "the borders");
        let module = (self.width - 2 * left) / modules;
        assert_eq!(module * modules + 2 * left, self.width, "not in the middle");
        assert!(left >= QUIET_ZONE * module, "a border of {left} pixels");
        for y in 0..self.width {
            for x in 0..self.width {
                let inside = |at: usize| {
                    let at = at.checked_sub(left)? / module;
                    i32::try_from(at).ok()
                };
                let dark = inside(x)
                    .zip(inside(y))
                    .is_some_and(|(x, y)| code.get_module(x, y));
                assert_eq!(self.pixels[y * self.width + x], dark, "pixel {x}, {y}");
            }
        }
    }
}
