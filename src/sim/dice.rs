//! A repeatable random generator: the same seed gives the same numbers on every machine and with
//! every version of every crate.

const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A `SplitMix64` generator. Not for secrets.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// A generator with this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator for a named part, so that changing one part does not change the others. The same
    /// seed and name make the same numbers.
    #[must_use]
    pub fn for_part(seed: u64, part: &str) -> Self {
        let mixed = part
            .bytes()
            .fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });

        Self(mixed)
    }

    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);

        z ^ (z >> 31)
    }

    /// A whole number in `low..high`; `low` if the range is empty.
    pub fn range(&mut self, low: i64, high: i64) -> i64 {
        let span = high.saturating_sub(low);
        let Ok(span @ 1..) = u64::try_from(span) else {
            return low;
        };

        low.saturating_add(i64::try_from(self.bits() % span).unwrap_or(0))
    }

    /// True with a probability of `percent` %.
    pub fn chance(&mut self, percent: i64) -> bool {
        self.range(0, 100) < percent
    }

    /// One of the items; `None` if there are none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let len = i64::try_from(items.len()).unwrap_or(i64::MAX);
        items.get(usize::try_from(self.range(0, len)).unwrap_or(0))
    }

    /// `count` different items in a random order; fewer if there are not that many.
    pub fn some_of<T: Clone>(&mut self, items: &[T], count: usize) -> Vec<T> {
        let mut left: Vec<T> = items.to_vec();
        let mut taken = Vec::with_capacity(count.min(left.len()));
        while taken.len() < count && !left.is_empty() {
            let len = i64::try_from(left.len()).unwrap_or(i64::MAX);
            let at = usize::try_from(self.range(0, len)).unwrap_or(0);
            taken.push(left.swap_remove(at));
        }

        taken
    }

    /// `count` characters of the URL-safe base64 alphabet: the look of event ids and tokens.
    pub fn letters(&mut self, count: usize) -> String {
        (0..count)
            .map(|_| char::from(URL_SAFE[usize::try_from(self.bits() % 64).unwrap_or(0)]))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Dice;

    #[test]
    fn the_same_seed_throws_the_same_and_another_seed_does_not() {
        let throw = |seed| Dice::new(seed).letters(43);
        assert_eq!(throw(1), throw(1));
        assert_ne!(throw(1), throw(2));
        assert_ne!(Dice::for_part(1, "a").bits(), Dice::for_part(1, "b").bits());
    }

    #[test]
    fn ranges_hold_their_bounds() {
        let mut dice = Dice::new(7);
        assert!((0..1000).all(|_| (3..9).contains(&dice.range(3, 9))));
        assert_eq!(dice.range(5, 5), 5);
        assert_eq!(dice.some_of(&[1, 2, 3], 9).len(), 3);
    }
}
