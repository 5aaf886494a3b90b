//! Identifies the rules by which something was derived: their version and the settings that affect
//! them, as one text that can be compared.

use super::RULES_VERSION;
use super::fold::Rules;

/// The stamp that is stored with derived data.
#[must_use]
pub fn derivation_stamp(rules: &Rules) -> String {
    derivation_stamp_of_version(RULES_VERSION, rules)
}

/// The stamp of another version of the rules, with these settings.
#[must_use]
pub fn derivation_stamp_of_version(version: u32, rules: &Rules) -> String {
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

        assert_eq!(derivation_stamp(&usual), derivation_stamp(&usual));
        assert_ne!(derivation_stamp(&usual), derivation_stamp(&strict));
        assert_ne!(
            derivation_stamp(&usual),
            derivation_stamp_of_version(RULES_VERSION - 1, &usual)
        );
    }
}
