//! The title of a room that has neither name nor alias: the names of its people, as clients show
//! it ("Calculating the display name for a room" in the specification of Matrix).

use super::direction::turns_direction;

/// Maximum number of people whose names are needed for a title.
pub const NAMED_MAX: usize = 3;
/// Maximum length of one name in a title, in characters.
const NAME_MAX: usize = 40;
/// How many are named where there are more than [`NAMED_MAX`].
const NAMED_OF_MANY: usize = 2;

/// Somebody who is or was in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TitlePerson {
    pub user_id: String,
    /// The display name in the room, if there is one.
    pub name: Option<String>,
}

/// What is known of the people of a room, without the account that watches it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeopleOfRoom {
    /// The first of those who are in the room, in a fixed order; at least [`NAMED_MAX`] of them if
    /// there are so many.
    pub present: Vec<TitlePerson>,
    /// How many are in the room.
    pub present_count: usize,
    /// The first of those who were in it, and are not any more.
    pub former: Vec<TitlePerson>,
    /// The list is not known to be complete: who is not on it may be in the room all the same.
    pub is_incomplete: bool,
}

/// The title of a room by its people; `None` if nothing is known of them.
#[must_use]
pub fn title_of_people(people: &PeopleOfRoom) -> Option<String> {
    if !people.present.is_empty() {
        return Some(list_names(&people.present, people.present_count));
    }

    if people.is_incomplete {
        return None;
    }

    if people.former.is_empty() {
        return Some("Empty room".to_owned());
    }

    let former = list_names(&people.former, people.former.len());

    Some(format!("Empty room (was {former})"))
}

/// The names of the first people and the number of the others; `count` is how many they are in all.
fn list_names(people: &[TitlePerson], count: usize) -> String {
    let count = count.max(people.len());
    let most = if count > NAMED_MAX {
        NAMED_OF_MANY
    } else {
        count
    };
    let chosen = &people[..most.min(people.len())];
    let mut names: Vec<String> = chosen
        .iter()
        .map(|person| name_among(person, chosen))
        .collect();
    let others = count - chosen.len();
    let last = if others > 0 {
        let noun = if others == 1 { "other" } else { "others" };
        Some(format!("{others} {noun}"))
    } else if names.len() > 1 {
        names.pop()
    } else {
        None
    };

    match last {
        Some(last) => format!("{} and {last}", names.join(", ")),
        None => names.join(", "),
    }
}

/// The name of a person; with the user id, if another one of these people has the same name.
fn name_among(person: &TitlePerson, people: &[TitlePerson]) -> String {
    let name = short_name(person);
    let is_shared = people
        .iter()
        .any(|other| other.user_id != person.user_id && short_name(other) == name);
    if is_shared {
        format!("{name} ({})", cut_text(&person.user_id))
    } else {
        name
    }
}

/// The display name of a person, else the local part of the user id.
fn short_name(person: &TitlePerson) -> String {
    let words = person.name.as_deref().map(clean_text);
    let words = words.filter(|name| !name.is_empty());
    let local = person.user_id.strip_prefix('@').and_then(|id| {
        let (local, _) = id.split_once(':')?;
        (!local.is_empty()).then(|| local.to_owned())
    });

    cut_text(&words.or(local).unwrap_or_else(|| person.user_id.clone()))
}

/// The text in one line: without control characters and those that turn the direction of text,
/// which would reach beyond the name.
fn clean_text(text: &str) -> String {
    let kept: String = text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .filter(|letter| !turns_direction(*letter))
        .collect();

    kept.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The text, cut if it is very long.
fn cut_text(text: &str) -> String {
    let text = clean_text(text);
    if text.chars().nth(NAME_MAX).is_none() {
        return text;
    }

    text.chars().take(NAME_MAX).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn people(names: &[&str]) -> Vec<TitlePerson> {
        names
            .iter()
            .map(|name| TitlePerson {
                user_id: format!("@{}:h", name.to_lowercase()),
                name: Some((*name).to_owned()),
            })
            .collect()
    }

    fn title_with(present: &[&str], count: usize) -> Option<String> {
        title_of_people(&PeopleOfRoom {
            present: people(present),
            present_count: count,
            ..PeopleOfRoom::default()
        })
    }

    #[test]
    fn a_room_is_named_by_its_people() {
        let title = |names: &[&str], count| title_with(names, count).unwrap();
        assert_eq!(title(&["Alice"], 1), "Alice");
        assert_eq!(title(&["Alice", "Bob"], 2), "Alice and Bob");
        assert_eq!(title(&["Alice", "Bob", "Cem"], 3), "Alice, Bob and Cem");
        let four = ["Alice", "Bob", "Cem", "Dee"];
        assert_eq!(title(&four, 4), "Alice, Bob and 2 others");
        assert_eq!(title(&four[..3], 5000), "Alice, Bob and 4998 others");
        assert_eq!(title(&["Alice"], 2), "Alice and 1 other");
    }

    #[test]
    fn an_empty_room_says_who_was_in_it_if_all_is_known() {
        assert_eq!(title_with(&[], 0).unwrap(), "Empty room");
        let mut left = PeopleOfRoom {
            former: people(&["Alice", "Bob"]),
            ..PeopleOfRoom::default()
        };
        assert_eq!(
            title_of_people(&left).unwrap(),
            "Empty room (was Alice and Bob)"
        );
        left.is_incomplete = true;
        assert_eq!(title_of_people(&left), None, "unknown is not empty");
    }

    #[test]
    fn people_of_the_same_name_are_told_apart() {
        let same = |user_id: &str| TitlePerson {
            user_id: user_id.to_owned(),
            name: Some("Alice".to_owned()),
        };
        let room = PeopleOfRoom {
            present: vec![same("@a:one"), same("@a:two")],
            present_count: 2,
            ..PeopleOfRoom::default()
        };
        assert_eq!(
            title_of_people(&room).unwrap(),
            "Alice (@a:one) and Alice (@a:two)"
        );
    }

    #[test]
    fn hostile_names_stay_short_and_in_one_line() {
        let with_name = |name: Option<&str>, user_id: &str| {
            title_of_people(&PeopleOfRoom {
                present: vec![TitlePerson {
                    user_id: user_id.to_owned(),
                    name: name.map(ToOwned::to_owned),
                }],
                present_count: 1,
                ..PeopleOfRoom::default()
            })
            .unwrap()
        };
        assert_eq!(with_name(None, "@ada:h"), "ada");
        assert_eq!(with_name(Some(" \n\u{202e} "), "@ada:h"), "ada");
        assert_eq!(with_name(Some("A\u{202e}d\na"), "@x:h"), "Ad a");
        assert_eq!(with_name(None, "@:h"), "@:h");
        let long = with_name(Some(&"é".repeat(5000)), "@x:h");
        assert_eq!(long.chars().count(), NAME_MAX + 1);
        let long = with_name(None, &format!("@{}:h", "x".repeat(5000)));
        assert_eq!(long.chars().count(), NAME_MAX + 1);
    }
}
