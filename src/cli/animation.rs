//! Pictures as PNG, and pictures that move as APNG: those of `callscope demo --record`.

use std::io::Cursor;

/// The bytes of a pixel: red, green, blue.
const PIXEL: usize = 3;

/// A picture without transparency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Picture {
    pub width: usize,
    pub height: usize,
    /// Three bytes a pixel, line by line.
    pub pixels: Vec<u8>,
}

/// A picture that is shown for some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub picture: Picture,
    /// How long, ms.
    pub shown_ms: u16,
}

/// A part of a picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Area {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

/// Why a picture cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum PictureError {
    #[error("the picture cannot be read: {0}")]
    Decode(#[from] png::DecodingError),
    #[error("the picture cannot be written: {0}")]
    Encode(#[from] png::EncodingError),
    #[error("the picture is too large")]
    TooLarge,
}

/// Reads a PNG with eight bits a channel, as browsers write it.
pub(super) fn read_picture(bytes: &[u8]) -> Result<Picture, PictureError> {
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
    let mut reader = decoder.read_info()?;
    let size = reader.output_buffer_size().ok_or(PictureError::TooLarge)?;
    let mut pixels = vec![0; size];
    let info = reader.next_frame(&mut pixels)?;
    let samples = info.color_type.samples();
    let pixels = pixels[..info.buffer_size()]
        .chunks_exact(samples)
        .flat_map(|pixel| match samples {
            1 | 2 => [pixel[0]; PIXEL],
            _ => [pixel[0], pixel[1], pixel[2]],
        })
        .collect();

    Ok(Picture {
        width: info.width as usize,
        height: info.height as usize,
        pixels,
    })
}

/// Writes one picture as a small PNG.
pub(super) fn write_picture(picture: &Picture) -> Result<Vec<u8>, PictureError> {
    let mut bytes = Vec::new();
    let mut writer = new_encoder(&mut bytes, picture)?.write_header()?;
    writer.write_image_data(&picture.pixels)?;
    writer.finish()?;

    Ok(bytes)
}

/// Writes pictures of one size, one after the other, which begin again at the end. Of each, only
/// what differs from the one before is written; one that does not differ prolongs it.
pub(super) fn write_animation(frames: &[Frame]) -> Result<Vec<u8>, PictureError> {
    let mut parts: Vec<(Area, Frame)> = Vec::new();
    for (n, frame) in frames.iter().enumerate() {
        let before = n.checked_sub(1).map(|n| &frames[n].picture);
        match (changed_area(before, &frame.picture), parts.last_mut()) {
            (None, Some((_, last))) => last.shown_ms = last.shown_ms.saturating_add(frame.shown_ms),
            (area, _) => parts.extend(area.map(|area| (area, frame.clone()))),
        }
    }

    let mut bytes = Vec::new();
    let Some((_, first)) = parts.first() else {
        return Ok(bytes);
    };

    let mut encoder = new_encoder(&mut bytes, &first.picture)?;
    encoder.set_animated(u32::try_from(parts.len()).unwrap_or(u32::MAX), 0)?;
    let mut writer = encoder.write_header()?;
    for (area, frame) in &parts {
        writer.set_frame_delay(frame.shown_ms, 1000)?;
        // Size and position are checked one by one: the old position must not stand in the way.
        writer.reset_frame_position()?;
        writer.set_frame_dimension(as_length(area.width)?, as_length(area.height)?)?;
        writer.set_frame_position(as_length(area.left)?, as_length(area.top)?)?;
        writer.write_image_data(&cut_out(&frame.picture, *area))?;
    }

    writer.finish()?;

    Ok(bytes)
}

/// An encoder for pictures of this size.
fn new_encoder<'a>(
    bytes: &'a mut Vec<u8>,
    picture: &Picture,
) -> Result<png::Encoder<'a, &'a mut Vec<u8>>, PictureError> {
    let (width, height) = (as_length(picture.width)?, as_length(picture.height)?);
    let mut encoder = png::Encoder::new(bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    // They are written once and loaded by many.
    encoder.set_compression(png::Compression::High);

    Ok(encoder)
}

fn as_length(pixels: usize) -> Result<u32, PictureError> {
    u32::try_from(pixels).map_err(|_| PictureError::TooLarge)
}

/// The smallest area that holds all that differs from the picture before; all of it, if there is
/// none of its size, and `None` if nothing differs.
fn changed_area(before: Option<&Picture>, now: &Picture) -> Option<Area> {
    let same_size = |before: &&Picture| before.width == now.width && before.height == now.height;
    let Some(before) = before.filter(same_size) else {
        return Some(Area {
            left: 0,
            top: 0,
            width: now.width,
            height: now.height,
        });
    };

    let line = now.width * PIXEL;
    let mut rows = 0..0;
    let mut columns = now.width..0;
    let pairs = before.pixels.chunks(line).zip(now.pixels.chunks(line));
    for (y, (old, new)) in pairs.enumerate() {
        let pixels = || old.chunks(PIXEL).zip(new.chunks(PIXEL));
        let Some(first) = pixels().position(|(old, new)| old != new) else {
            continue;
        };

        let last = pixels().rposition(|(old, new)| old != new).unwrap_or(first);
        columns = columns.start.min(first)..columns.end.max(last + 1);
        rows = if rows.is_empty() { y } else { rows.start }..y + 1;
    }

    (!rows.is_empty()).then(|| Area {
        left: columns.start,
        top: rows.start,
        width: columns.end - columns.start,
        height: rows.end - rows.start,
    })
}

/// The pixels of a part of a picture, line by line.
fn cut_out(picture: &Picture, area: Area) -> Vec<u8> {
    let lines = picture.pixels.chunks(picture.width * PIXEL);
    let from = area.left * PIXEL;
    let to = from + area.width * PIXEL;

    lines
        .skip(area.top)
        .take(area.height)
        .flat_map(|line| &line[from..to])
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A white picture with one black pixel.
    fn picture(width: usize, height: usize, black: (usize, usize)) -> Picture {
        let mut pixels = vec![255; width * height * PIXEL];
        let at = (black.1 * width + black.0) * PIXEL;
        pixels[at..at + PIXEL].fill(0);

        Picture {
            width,
            height,
            pixels,
        }
    }

    #[test]
    fn a_written_picture_is_read_again() {
        let one = picture(5, 4, (3, 2));
        assert_eq!(read_picture(&write_picture(&one).unwrap()).unwrap(), one);
    }

    #[test]
    fn only_what_differs_is_written_again() {
        let (one, other) = (picture(9, 7, (1, 2)), picture(9, 7, (6, 4)));
        let area = changed_area(Some(&one), &other).unwrap();
        let Area {
            left,
            top,
            width,
            height,
        } = area;
        assert_eq!((left, top, width, height), (1, 2, 6, 3));
        assert_eq!(changed_area(Some(&one), &one), None);

        let frame = |picture: &Picture, shown_ms| Frame {
            picture: picture.clone(),
            shown_ms,
        };
        let frames = [frame(&one, 400), frame(&one, 300), frame(&other, 200)];
        let bytes = write_animation(&frames).unwrap();

        let mut reader = png::Decoder::new(Cursor::new(&bytes)).read_info().unwrap();
        let control = reader.info().animation_control.unwrap();
        assert_eq!((control.num_frames, control.num_plays), (2, 0));
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        assert_eq!(pixels, one.pixels);
        assert_eq!(reader.info().frame_control.unwrap().delay_num, 700);
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (6, 3));
        assert_eq!(pixels[..info.buffer_size()], cut_out(&other, area));
    }
}
