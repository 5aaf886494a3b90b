//! The rooms of the demo.

use super::dice::Dice;
use super::homeserver::NewRoom;
use super::people::{PEOPLE, Person};

/// A room of the demo, before it is created.
#[derive(Debug)]
pub struct Scene {
    /// Short name in the script.
    pub key: &'static str,
    /// Room name; a direct chat has none.
    pub name: Option<&'static str>,
    /// Canonical alias.
    pub alias: Option<&'static str>,
    /// What it is called in a hostile world instead, where that is something else.
    pub odd: Option<OddName>,
    /// Room version.
    pub version: &'static str,
    /// `history_visibility`.
    pub visibility: &'static str,
    /// Encrypted or not.
    pub encrypted: bool,
    /// How many people are in it.
    pub size: usize,
}

/// A name that is hard to show: very long, from right to left, with markup.
#[derive(Debug)]
pub struct OddName {
    /// Room name.
    pub name: &'static str,
    /// Canonical alias, on the same server.
    pub alias: &'static str,
}

/// A room with the usual properties; `size` is how many people are in it.
const fn new_scene(
    key: &'static str,
    name: &'static str,
    alias: &'static str,
    size: usize,
) -> Scene {
    Scene {
        key,
        name: Some(name),
        alias: Some(alias),
        odd: None,
        version: "12",
        visibility: "shared",
        encrypted: false,
        size,
    }
}

/// All rooms.
pub static SCENES: [Scene; 15] = [
    new_scene("community", "Community call", "#community:sim.example", 44),
    new_scene("backend", "Backend team", "#backend:sim.example", 12),
    new_scene("lounge", "The lounge ☕", "#lounge:sim.example", 24),
    new_scene("support", "Support desk", "#support:sim.example", 14),
    Scene {
        // This room version protects state keys that begin with a user id (MSC3757).
        version: "org.matrix.msc3757.10",
        odd: Some(OddName {
            name: "Opérations & astreinte",
            alias: "#ops:sim.example",
        }),
        ..new_scene("ops", "Operations on call", "#ops:sim.example", 16)
    },
    new_scene(
        "hallway",
        "Summit hallway",
        "#summit-hallway:matrix.example.net",
        44,
    ),
    Scene {
        odd: Some(OddName {
            name: "غرفة الاجتماعات العامة",
            alias: "#majlis:matrix.example.net",
        }),
        ..new_scene(
            "arabic",
            "Language exchange",
            "#languages:matrix.example.net",
            13,
        )
    },
    Scene {
        version: "10",
        odd: Some(OddName {
            name: "Repair café planning, tool library, spare parts exchange, and everything else \
                   that does not fit into the other rooms of the hackerspace but still needs \
                   somebody to talk about it on a Monday afternoon",
            alias: "#repair-cafe-planning-tool-library-and-spare-parts:hackerspace.example",
        }),
        ..new_scene(
            "repair",
            "Repair café",
            "#repair-cafe:hackerspace.example",
            15,
        )
    },
    Scene {
        version: "11",
        encrypted: true,
        odd: Some(OddName {
            name: "Vorstand (vertraulich)",
            alias: "#vorstand:verein.example",
        }),
        ..new_scene("board", "Board (confidential)", "#board:verein.example", 8)
    },
    Scene {
        version: "10",
        visibility: "world_readable",
        ..new_scene("townhall", "Public town hall", "#townhall:uni.example", 26)
    },
    Scene {
        name: None,
        alias: None,
        visibility: "joined",
        ..new_scene("dm", "", "", 2)
    },
    new_scene("books", "Book club", "#books:sim.example", 6),
    new_scene("film", "Film night", "#film:hackerspace.example", 14),
    new_scene("mods", "Moderators", "#moderators:sim.example", 9),
    Scene {
        odd: Some(OddName {
            name: "Test lab <script>alert(1)</script>",
            alias: "#lab:hackerspace.example",
        }),
        ..new_scene("lab", "Test lab", "#lab:hackerspace.example", 7)
    },
];

/// The only room without the bot; it is world-readable.
pub const OUTSIDE: &str = "townhall";

/// The room of this short name; `None` if there is none.
#[must_use]
pub fn find_scene(key: &str) -> Option<&'static Scene> {
    SCENES.iter().find(|scene| scene.key == key)
}

impl Scene {
    /// Room id: the same for the same seed.
    #[must_use]
    pub fn room_id(&self, seed: u64) -> String {
        let mut dice = Dice::for_part(seed, self.key);
        if self.version == "12" {
            return format!("!{}", dice.letters(43));
        }

        let server = self.alias.and_then(|alias| alias.split_once(':'));
        let server = server.map_or("sim.example", |(_, server)| server);

        format!("!{}:{server}", dice.letters(18).replace(['-', '_'], "x"))
    }

    /// Its members, the creator first; the same for the same seed.
    #[must_use]
    pub fn members(&self, seed: u64) -> Vec<&'static Person> {
        let mut dice = Dice::for_part(seed ^ 1, self.key);
        let everybody: Vec<&Person> = PEOPLE.iter().collect();
        let (first, others) = everybody.split_at(1);
        let mut members = first.to_vec();
        members.extend(dice.some_of(others, self.size.saturating_sub(1)));

        members
    }

    /// The room to create at `ts`, ms. The seed decides its id and its creator; with `is_hostile`
    /// it gets its odd name.
    #[must_use]
    pub fn new_room(&self, seed: u64, is_hostile: bool, ts: i64) -> NewRoom {
        let members = self.members(seed);
        let odd = self.odd.as_ref().filter(|_| is_hostile);
        let name = odd.map(|odd| odd.name).or(self.name);
        let alias = odd.map(|odd| odd.alias).or(self.alias);

        NewRoom {
            room_id: Some(self.room_id(seed)),
            creator: members
                .first()
                .map(|first| first.user_id())
                .unwrap_or_default(),
            name: name.map(str::to_owned),
            alias: alias.map(str::to_owned),
            version: self.version.to_owned(),
            encrypted: self.encrypted,
            history_visibility: self.visibility.to_owned(),
            join_rule: if alias.is_some() { "public" } else { "invite" }.to_owned(),
            ts,
            ..NewRoom::default()
        }
    }
}
