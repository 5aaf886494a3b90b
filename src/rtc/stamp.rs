//! Identifies the rules by which something was derived: their version and the settings that affect
//! them, as one text that can be compared.

use super::RULES_VERSION;
use super::fold::Rules;

/// The stamp that is stored with derived data.
#[must_use]
pub fn stamp(rules: &Rules) -> String {
    stamp_of(RULES_VERSION, rules)
}

/// The same for another version of the rules.
#[must_use]
pub fn stamp_of(version: u32, rules: &Rules) -> String {
    // All settings are included, also those added later.
    format!("{version} {rules:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtc::slot::SlotPolicy;

    #[test]
    fn another_version_or_another_setting_is_another_stamp() {
        let usual = Rules::default();
        let strict = Rules {
            slot_policy: SlotPolicy::Required,
            ..usual
        };

        assert_eq!(stamp(&usual), stamp(&usual));
        assert_ne!(stamp(&usual), stamp(&strict));
        assert_ne!(stamp(&usual), stamp_of(RULES_VERSION - 1, &usual));
    }
}
