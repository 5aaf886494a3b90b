//! The colour and the letter of an SFU inside one call.

use crate::rtc::transport::host_of_url;

/// One SFU of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sfu {
    pub url: String,
    /// A, B, C by first use in this call.
    pub letter: String,
    pub paint: Paint,
}

/// A colour slot 1 to 8, or grey if it has none; hollow and dashed for time that is in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint {
    slot: Option<u8>,
    gone: bool,
}

impl Paint {
    pub const GREY: Self = Self {
        slot: None,
        gone: false,
    };

    /// This colour, for a device that is probably gone.
    #[must_use]
    pub fn gone(self) -> Self {
        Self { gone: true, ..self }
    }

    /// The plain colour as an attribute value.
    #[must_use]
    pub fn plain(self) -> String {
        self.slot.map_or_else(
            || "var(--ink-3)".to_owned(),
            |slot| format!("var(--sfu-{slot})"),
        )
    }

    /// The end of the class names that have this colour in the style sheet, after `s` (plain), `w`
    /// (woven) and `l` (a line): the number of the colour, 0 = grey, and ` ghost` for a device that
    /// is gone.
    #[must_use]
    pub fn slot(self) -> String {
        format!(
            "{}{}",
            self.slot.unwrap_or(0),
            if self.gone { " ghost" } else { "" }
        )
    }
}

/// The SFUs of one call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sfus(pub Vec<Sfu>);

impl Sfus {
    /// Assigns colours and letters to the service URLs in order of first use; URLs of the same host
    /// share them. A hash chooses one of 8 colour slots, or if it is taken, the next free one; if
    /// all are taken, there is none. After the letter Z come numbers.
    #[must_use]
    pub fn from_urls<'a>(urls: impl Iterator<Item = &'a str>) -> Self {
        let mut found: Vec<Sfu> = Vec::new();
        for url in urls {
            if found
                .iter()
                .any(|sfu| host_of_url(&sfu.url) == host_of_url(url))
            {
                continue;
            }

            let taken: Vec<u8> = found.iter().filter_map(|sfu| sfu.paint.slot).collect();
            let wish = (fnv1a(url) % 8) as u8;
            let slot = (0..8)
                .map(|step| (wish + step) % 8 + 1)
                .find(|slot| !taken.contains(slot));
            let letter = u8::try_from(found.len()).ok().filter(|index| *index < 26);
            let letter = letter.map_or_else(
                || (found.len() + 1).to_string(),
                |index| char::from(b'A' + index).to_string(),
            );
            found.push(Sfu {
                url: url.to_owned(),
                letter,
                paint: Paint { slot, gone: false },
            });
        }

        Self(found)
    }

    /// The SFU with the host of this URL.
    #[must_use]
    pub fn find(&self, url: Option<&str>) -> Option<&Sfu> {
        let wanted = host_of_url(url?);
        self.0.iter().find(|sfu| host_of_url(&sfu.url) == wanted)
    }

    /// The colour of the SFU of this URL; grey if there is none.
    #[must_use]
    pub fn paint(&self, url: Option<&str>) -> Paint {
        self.find(url).map_or(Paint::GREY, |sfu| sfu.paint)
    }

    /// Is this colour slot used?
    #[must_use]
    pub fn has(&self, slot: u8) -> bool {
        self.0.iter().any(|sfu| sfu.paint.slot == Some(slot))
    }

    /// The letter of the SFU of this URL.
    #[must_use]
    pub fn letter(&self, url: Option<&str>) -> Option<&str> {
        self.find(url).map(|sfu| sfu.letter.as_str())
    }
}

/// FNV-1a, 32 bit: the same colour on every page and in every version.
fn fnv1a(text: &str) -> u32 {
    text.bytes().fold(2_166_136_261, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(16_777_619)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv1a() {
        assert_eq!(fnv1a(""), 0x811c_9dc5);
        assert_eq!(fnv1a("foobar"), 0xbf9c_f968);
    }

    #[test]
    fn each_sfu_has_its_own_colour_up_to_eight() {
        let urls: Vec<String> = (0..30)
            .map(|index| format!("https://sfu{index}.example"))
            .collect();
        let sfus = Sfus::from_urls(urls.iter().chain(&urls).map(String::as_str));
        assert_eq!(sfus.0.len(), 30);
        let slots: std::collections::BTreeSet<_> =
            sfus.0.iter().filter_map(|sfu| sfu.paint.slot).collect();
        assert_eq!(slots, (1..=8).collect());
        assert_eq!(
            (
                sfus.0[0].letter.as_str(),
                sfus.0[25].letter.as_str(),
                sfus.0[26].letter.as_str()
            ),
            ("A", "Z", "27")
        );
        assert_eq!(sfus.paint(Some(&urls[8])), Paint::GREY);
        assert_eq!(sfus.paint(None).plain(), "var(--ink-3)");
    }
}
