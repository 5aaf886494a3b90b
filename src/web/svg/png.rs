//! Draws our own SVG as PNG, with the one font that is in the program.

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};
use std::sync::{Arc, LazyLock};

/// A part of Noto Sans, under the SIL Open Font License.
const FONT: &[u8] = include_bytes!("fonts/NotoSans-part.ttf");
/// Its name in SVG.
const FAMILY: &str = "Noto Sans";

/// Why a picture was not drawn.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the picture was not drawn: {0}")]
pub struct DrawError(String);

/// Draws a picture of this width, px; its height follows from the SVG. It takes as long as there is
/// to draw: not for a thread that answers others.
///
/// # Errors
/// The text is not SVG, or the picture is too large for the memory.
pub fn draw_png(svg: &str, width: u32) -> Result<Vec<u8>, DrawError> {
    static FONTS: LazyLock<Arc<fontdb::Database>> = LazyLock::new(|| {
        let mut fonts = fontdb::Database::new();
        fonts.load_font_data(FONT.to_vec());

        Arc::new(fonts)
    });

    let options = Options {
        font_family: FAMILY.to_owned(),
        fontdb: Arc::clone(&FONTS),
        ..Options::default()
    };
    let tree = Tree::from_str(svg, &options).map_err(|why| DrawError(why.to_string()))?;
    let size = tree.size().to_int_size();
    let size = size.scale_to_width(width);
    let pixmap = size.and_then(|size| Pixmap::new(size.width(), size.height()));
    let Some(mut pixmap) = pixmap else {
        return Err(DrawError("it has no size".to_owned()));
    };

    let scale = to_scale(width, tree.size().width());
    resvg::render(
        &tree,
        Transform::from_scale(scale, scale),
        &mut pixmap.as_mut(),
    );

    pixmap
        .encode_png()
        .map_err(|why| DrawError(why.to_string()))
}

/// How much larger the picture is than its SVG.
#[allow(
    clippy::cast_precision_loss,
    reason = "pictures have a few thousand pixels"
)]
fn to_scale(width: u32, of_svg: f32) -> f32 {
    width as f32 / of_svg
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// Width and height, px, as the head of the file says.
    fn size_of_png(png: &[u8]) -> (u32, u32) {
        assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");
        let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());

        (number(16), number(20))
    }

    fn static_file(name: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("static")
            .join(name)
    }

    /// An icon file with one picture in it.
    fn ico_of_png(png: &[u8], size: u8) -> Vec<u8> {
        let mut file = vec![0, 0, 1, 0, 1, 0, size, size, 0, 0, 1, 0, 32, 0];
        file.extend(u32::try_from(png.len()).unwrap().to_le_bytes());
        file.extend(22_u32.to_le_bytes());
        file.extend(png);

        file
    }

    #[test]
    fn letters_are_drawn_and_unknown_ones_are_no_error() {
        let with = |text: &str| {
            let svg = format!(
                "<svg xmlns='http://www.w3.org/2000/svg' width='200' height='40'><text x='5' \
                 y='30' font-size='24'>{text}</text></svg>"
            );
            draw_png(&svg, 200).unwrap()
        };
        let empty = with("");
        assert_eq!(size_of_png(&empty), (200, 40));
        for text in ["call", "Ωμέγα", "Анна", "é"] {
            assert!(with(text).len() > empty.len() + 100, "{text}");
        }
        with("会议 مجلس 🎉");
        assert!(draw_png("no picture", 200).is_err());
    }

    /// The icons in `static/` are those of the SVG. `CALLSCOPE_WRITE_ICONS=1` writes them anew.
    #[test]
    fn the_icons_are_drawn_of_the_svg() {
        let svg = std::fs::read_to_string(static_file("favicon.svg")).unwrap();
        for size in [192, 512] {
            let png = draw_png(&svg, size).unwrap();
            compare_or_write(&format!("icon-{size}.png"), &png);
        }
        let small = draw_png(&svg, 32).unwrap();
        compare_or_write("favicon.ico", &ico_of_png(&small, 32));
    }

    fn compare_or_write(name: &str, made: &[u8]) {
        if std::env::var_os("CALLSCOPE_WRITE_ICONS").is_some() {
            std::fs::write(static_file(name), made).unwrap();
        }

        let kept = std::fs::read(static_file(name)).unwrap();
        assert!(kept.len() < 10_000, "{name}: {}", kept.len());
        assert!(kept == made, "CALLSCOPE_WRITE_ICONS=1 writes {name} anew");
    }
}
