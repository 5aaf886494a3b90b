//! The people of the demo: who they are, where their accounts live, which SFU their server has.

use super::dice::Dice;

/// Somebody with an account on one of the demo's servers.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Person {
    /// Before the colon, without `@`.
    pub localpart: &'static str,
    /// Server name.
    pub server: &'static str,
    /// Display name.
    pub name: &'static str,
}

impl Person {
    /// Matrix id.
    #[must_use]
    pub fn user_id(&self) -> String {
        format!("@{}:{}", self.localpart, self.server)
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

const fn person(localpart: &'static str, server: &'static str, name: &'static str) -> Person {
    Person {
        localpart,
        server,
        name,
    }
}

/// Everybody. The first is the one who makes the rooms.
pub static PEOPLE: [Person; 44] = [
    person("ada", SIM, "Ada Okonkwo"),
    person("bruno", SIM, "Bruno Carvalho"),
    person("chloe", SIM, "Chloé Lefèvre"),
    person("dmitri", SIM, "Дмитрий Соколов"),
    person("emre", SIM, "Emre Yıldız"),
    person("fatima", SIM, "فاطمة الزهراء"),
    person("goran", SIM, "Goran Šimić"),
    person("hana", SIM, "花 (Hana)"),
    person("ingrid", SIM, "Ingrid Ødegård"),
    person("juan", SIM, "Juan Núñez"),
    person("carol", HACK, "carol 🛠"),
    person("zed", HACK, "zed"),
    person("kestrel", HACK, "Kestrel"),
    person("lu", HACK, "吕思远"),
    person("mika", HACK, "Mika Hämäläinen"),
    person("nox", HACK, "nox"),
    person("olu", HACK, "Olú Adéyẹmí"),
    person("pavel", HACK, "Pavel Dvořák"),
    person("quinn", HACK, "Quinn"),
    person(
        "maximiliane.von.hohenberg-schwarzenstein",
        VEREIN,
        "Maximiliane Freifrau von Hohenberg-Schwarzenstein (Vorstand, 2. Vorsitzende)",
    ),
    person("noor", VEREIN, "Noor Haddad"),
    person("jurgen", VEREIN, "Jürgen Weiß"),
    person("sabine", VEREIN, "Sabine Groß"),
    person("torsten", VEREIN, "Torsten Müller-Lüdenscheidt"),
    person("ulrike", VEREIN, "Ulrike Bäcker"),
    person("bob", NET, "Bob"),
    person("grace", NET, "Grace Hopewell"),
    person("shaima", NET, "شيماء"),
    person("tomek", NET, "Tomek Wójcik"),
    person("vera", NET, "Vera Costa"),
    person("wen", NET, "温暖"),
    person("xiomara", NET, "Xiomara Peña"),
    person("yuki", NET, "田中 ゆき"),
    person("prof.adler", UNI, "Prof. Dr. Inge Adler"),
    person("s1034221", UNI, "Léa Dubois"),
    person("s1034876", UNI, "Minh Trần"),
    person("s1035002", UNI, "김서연"),
    person("s1035119", UNI, "Oisín Ó Briain"),
    person("s1035240", UNI, "Zsófia Kővári"),
    person("linh", CLINIC, "Nguyễn Thị Mỹ Linh"),
    person("duc", CLINIC, "Đặng Văn Đức"),
    person("huong", CLINIC, "Phạm Thu Hương"),
    person("khanh", CLINIC, "Lê Khánh"),
    person("an", CLINIC, "Võ Hoài An"),
];
