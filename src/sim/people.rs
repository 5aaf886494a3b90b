//! The people of the demo: who they are, where their accounts live, which SFU their server has.

use super::dice::Dice;

/// Somebody with an account on one of the demo's servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Person {
    /// Before the colon, without `@`.
    pub localpart: &'static str,
    /// Server name.
    pub server: &'static str,
    /// Display name.
    pub name: &'static str,
    /// The display name in a hostile world, where that is another: very long, or from right to
    /// left.
    pub odd_name: Option<&'static str>,
}

impl Person {
    /// Matrix id.
    #[must_use]
    pub fn user_id(&self) -> String {
        format!("@{}:{}", self.localpart, self.server)
    }

    /// Display name; with `is_hostile` the odd one, if there is one.
    #[must_use]
    pub fn display_name(&self, is_hostile: bool) -> &'static str {
        self.odd_name.filter(|_| is_hostile).unwrap_or(self.name)
    }

    /// Id of the person's device number `n`: the same at every start.
    #[must_use]
    pub fn device(&self, n: u32) -> String {
        let part = format!("{} {n}", self.user_id());
        let letters = Dice::for_part(7, &part).letters(10);
        letters.to_uppercase().replace(['-', '_'], "Q")
    }

    /// Service URL of the SFU that the person's server advertises.
    #[must_use]
    pub fn sfu(&self) -> &'static str {
        match self.server {
            HACK => SFUS[1],
            VEREIN => SFUS[2],
            NET => SFUS[3],
            UNI => SFUS[4],
            _ => SFUS[0],
        }
    }
}

const SIM: &str = "sim.example";
const HACK: &str = "hackerspace.example";
const VEREIN: &str = "verein.example";
const NET: &str = "matrix.example.net";
const UNI: &str = "uni.example";
const CLINIC: &str = "phongkham.example";

/// Service URLs of the SFUs; the last server has none of its own.
pub const SFUS: [&str; 5] = [
    "https://livekit-jwt.sim.example",
    "https://rtc.hackerspace.example/livekit/jwt",
    "https://call.verein.example/livekit/jwt",
    "https://sfu.matrix.example.net",
    "https://livekit.uni.example/jwt",
];

/// A person, by localpart, server and display name.
const fn new_person(localpart: &'static str, server: &'static str, name: &'static str) -> Person {
    Person {
        localpart,
        server,
        name,
        odd_name: None,
    }
}

/// The person, with another display name in a hostile world.
const fn with_odd_name(person: Person, odd_name: &'static str) -> Person {
    Person {
        odd_name: Some(odd_name),
        ..person
    }
}

/// Everybody. The first is the one who makes the rooms.
pub static PEOPLE: [Person; 44] = [
    new_person("ada", SIM, "Ada Okonkwo"),
    new_person("bruno", SIM, "Bruno Carvalho"),
    new_person("chloe", SIM, "Chloé Lefèvre"),
    new_person("dmitri", SIM, "Дмитрий Соколов"),
    new_person("emre", SIM, "Emre Yıldız"),
    with_odd_name(new_person("fatima", SIM, "Fatima Zahra"), "فاطمة الزهراء"),
    new_person("goran", SIM, "Goran Šimić"),
    new_person("hana", SIM, "花 (Hana)"),
    new_person("ingrid", SIM, "Ingrid Ødegård"),
    new_person("juan", SIM, "Juan Núñez"),
    new_person("carol", HACK, "carol 🛠"),
    new_person("zed", HACK, "zed"),
    new_person("kestrel", HACK, "Kestrel"),
    new_person("lu", HACK, "吕思远"),
    new_person("mika", HACK, "Mika Hämäläinen"),
    new_person("nox", HACK, "nox"),
    new_person("olu", HACK, "Olú Adéyẹmí"),
    new_person("pavel", HACK, "Pavel Dvořák"),
    new_person("quinn", HACK, "Quinn"),
    with_odd_name(
        new_person(
            "maximiliane.von.hohenberg-schwarzenstein",
            VEREIN,
            "Maximiliane von Hohenberg",
        ),
        "Maximiliane Freifrau von Hohenberg-Schwarzenstein (Vorstand, 2. Vorsitzende)",
    ),
    new_person("noor", VEREIN, "Noor Haddad"),
    new_person("jurgen", VEREIN, "Jürgen Weiß"),
    new_person("sabine", VEREIN, "Sabine Groß"),
    new_person("torsten", VEREIN, "Torsten Müller-Lüdenscheidt"),
    new_person("ulrike", VEREIN, "Ulrike Bäcker"),
    new_person("bob", NET, "Bob"),
    new_person("grace", NET, "Grace Hopewell"),
    with_odd_name(new_person("shaima", NET, "Shaima"), "شيماء"),
    new_person("tomek", NET, "Tomek Wójcik"),
    new_person("vera", NET, "Vera Costa"),
    new_person("wen", NET, "温暖"),
    new_person("xiomara", NET, "Xiomara Peña"),
    new_person("yuki", NET, "田中 ゆき"),
    new_person("prof.adler", UNI, "Prof. Dr. Inge Adler"),
    new_person("s1034221", UNI, "Léa Dubois"),
    new_person("s1034876", UNI, "Minh Trần"),
    new_person("s1035002", UNI, "김서연"),
    new_person("s1035119", UNI, "Oisín Ó Briain"),
    new_person("s1035240", UNI, "Zsófia Kővári"),
    new_person("linh", CLINIC, "Nguyễn Thị Mỹ Linh"),
    new_person("duc", CLINIC, "Đặng Văn Đức"),
    new_person("huong", CLINIC, "Phạm Thu Hương"),
    new_person("khanh", CLINIC, "Lê Khánh"),
    new_person("an", CLINIC, "Võ Hoài An"),
];
