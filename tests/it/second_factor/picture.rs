//! The image of a QR code, compared with the expected modules.

use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use qrcodegen::{QrCode, QrCodeEcc};

/// Width of the border that readers need, in modules (ISO/IEC 18004).
const QUIET_ZONE: usize = 4;

pub struct QrPicture {
    width: usize,
    /// Whether each pixel is dark, row by row.
    pixels: Vec<bool>,
}

impl QrPicture {
    /// Decodes a data URI of a greyscale PNG with 8 bits per pixel.
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

    /// Asserts that each pixel is that of the QR code of `text` and that the border is wide enough.
    #[track_caller]
    pub fn assert_shows(&self, text: &str) {
        let code = QrCode::encode_text(text, QrCodeEcc::Medium).unwrap();
        let modules = usize::try_from(code.size()).unwrap();
        // The first dark pixel is the corner of a finder pattern.
        let first = self.pixels.iter().position(|dark| *dark).unwrap();
        let (left, top) = (first % self.width, first / self.width);
        assert_eq!(left, top, "the borders");
        let module = (self.width - 2 * left) / modules;
        assert_eq!(module * modules + 2 * left, self.width, "not centred");
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
