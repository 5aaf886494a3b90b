//! The steps of a server check: what each is about, what a fault in it means, and what to set.

use crate::rtc::words::words;

words! {
    /// How a step fares. The order is that of gravity.
    pub enum StepState {
        /// Calls fail by it.
        Broken = "broken",
        /// Calls work, and not as well as they could.
        Weak = "weak",
        /// It cannot be told.
        Unknown = "unknown",
        Well = "ok",
    }
}

words! {
    /// The steps from a server's name to the goodbye of a client that is lost.
    pub enum CheckStep {
        Name = "name",
        Certificate = "certificate",
        Delegation = "server_well_known",
        Federation = "federation",
        ServerName = "server_name",
        ClientApi = "client_api",
        WellKnown = "client_well_known",
        Cors = "cors",
        Clock = "clock",
        Transports = "transports",
        TokenService = "token_service",
        Sfu = "sfu",
        Delegated = "delegated_leave",
        DelayedEvents = "delayed_events",
        DelayLimit = "max_delay",
        StickyEvents = "sticky_events",
        Power = "power_levels",
        Acl = "server_acl",
    }
}

/// What to set in one program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remedy {
    /// Where it is set: a program, or a file of it.
    pub program: &'static str,
    /// The lines to set, ready to copy.
    pub lines: &'static str,
}

impl CheckStep {
    pub const ALL: [Self; 18] = [
        Self::Name,
        Self::Certificate,
        Self::Delegation,
        Self::Federation,
        Self::ServerName,
        Self::ClientApi,
        Self::WellKnown,
        Self::Cors,
        Self::Clock,
        Self::Transports,
        Self::TokenService,
        Self::Sfu,
        Self::Delegated,
        Self::DelayedEvents,
        Self::DelayLimit,
        Self::StickyEvents,
        Self::Power,
        Self::Acl,
    ];

    /// What the step is about, in a few words.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Name => "Name resolution",
            Self::Certificate => "TLS certificates",
            Self::Delegation => "Well-known for servers",
            Self::Federation => "Federation",
            Self::ServerName => "Server name",
            Self::ClientApi => "Client API",
            Self::WellKnown => "Well-known for clients",
            Self::Cors => "Access for browsers (CORS)",
            Self::Clock => "Clock",
            Self::Transports => "Transports endpoint",
            Self::TokenService => "Token service",
            Self::Sfu => "SFU",
            Self::Delegated => "Delayed leave by the SFU",
            Self::DelayedEvents => "Delayed events",
            Self::DelayLimit => "Longest delay",
            Self::StickyEvents => "Sticky events",
            Self::Power => "Power levels of rooms",
            Self::Acl => "Server ACL of rooms",
        }
    }

    /// What follows if this step is not well.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Name => "Nobody finds the server: neither clients nor other servers.",
            Self::Certificate => {
                "Clients and other servers refuse the connection, or will when it ends."
            }
            Self::Delegation => {
                "Other servers may not find the federation API if it is not at port 8448."
            }
            Self::Federation => {
                "Other servers cannot send or fetch events: people of other servers do not see \
                 who is in a call."
            }
            Self::ServerName => {
                "The server signs with another name, so other servers refuse its events."
            }
            Self::ClientApi => "Clients cannot reach the homeserver.",
            Self::WellKnown => "Clients cannot find the homeserver or its SFU by its name.",
            Self::Cors => "Clients in a browser, Element Call among them, may not read the answer.",
            Self::Clock => {
                "Memberships begin and end at wrong times: people vanish early or stay as ghosts."
            }
            Self::Transports => "New clients find no SFU: a call starts, and nobody hears anybody.",
            Self::TokenService => "Clients get no token for the SFU, so nobody hears anybody.",
            Self::Sfu => "Clients cannot connect to the SFU, so nobody hears anybody.",
            Self::Delegated => {
                "Clients that are lost stay in the call until their delayed leave is due."
            }
            Self::DelayedEvents => {
                "A client that crashes or loses its connection stays in the call as a ghost until \
                 its membership expires, for hours."
            }
            Self::DelayLimit => {
                "The homeserver refuses the delayed leave that clients schedule, so lost clients \
                 stay as ghosts."
            }
            Self::StickyEvents => {
                "Clients use room state for memberships, which needs power in the room."
            }
            Self::Power => "Usual members cannot join a call there: their event is refused.",
            Self::Acl => {
                "The room takes no events of this server: its people cannot join or leave."
            }
        }
    }

    /// What to set, by program; empty if that depends on the cause.
    #[must_use]
    pub fn remedies(self) -> &'static [Remedy] {
        match self {
            Self::Name => &[Remedy {
                program: "DNS",
                lines: "example.org.         A     203.0.113.5\n\
                        matrix.example.org.  A     203.0.113.5",
            }],
            Self::Certificate => &[
                Remedy {
                    program: "certbot",
                    lines: "certbot renew\nsystemctl reload nginx",
                },
                Remedy {
                    program: "Caddy",
                    lines: "# Caddy renews by itself; see why it does not:\njournalctl -u caddy",
                },
            ],
            Self::Delegation | Self::ServerName => &[
                Remedy {
                    program: "Synapse: homeserver.yaml",
                    lines: "server_name: example.org\nserve_server_wellknown: true",
                },
                Remedy {
                    program: "nginx: server block of example.org",
                    lines: "location = /.well-known/matrix/server {\n    \
                            default_type application/json;\n    \
                            return 200 '{\"m.server\": \"matrix.example.org:443\"}';\n}",
                },
            ],
            Self::Federation => &[
                Remedy {
                    program: "Synapse: homeserver.yaml",
                    lines: "listeners:\n  - port: 8008\n    type: http\n    x_forwarded: true\n    \
                            resources:\n      - names: [client, federation]",
                },
                Remedy {
                    program: "nginx: server block of matrix.example.org",
                    lines: "listen 8448 ssl;\nlocation /_matrix {\n    \
                            proxy_pass http://127.0.0.1:8008;\n    \
                            proxy_set_header X-Forwarded-For $remote_addr;\n    \
                            proxy_set_header Host $host;\n}",
                },
            ],
            Self::ClientApi => &[Remedy {
                program: "nginx: server block of matrix.example.org",
                lines: "location ~ ^(/_matrix|/_synapse/client) {\n    \
                        proxy_pass http://127.0.0.1:8008;\n    \
                        proxy_set_header X-Forwarded-For $remote_addr;\n    \
                        proxy_set_header Host $host;\n}",
            }],
            Self::WellKnown => &[
                Remedy {
                    program: "Synapse: homeserver.yaml",
                    lines: "public_baseurl: https://matrix.example.org/\n\
                            extra_well_known_client_content:\n  \
                            org.matrix.msc4143.rtc_foci:\n    - type: livekit\n      \
                            livekit_service_url: https://rtc.example.org",
                },
                Remedy {
                    program: "nginx: server block of example.org",
                    lines: "location = /.well-known/matrix/client {\n    \
                            proxy_pass http://127.0.0.1:8008;\n}",
                },
            ],
            Self::Cors => &[Remedy {
                program: "nginx: each location that was named",
                lines: "add_header Access-Control-Allow-Origin * always;\n\
                        add_header Access-Control-Allow-Methods \"GET, POST, OPTIONS\" always;\n\
                        add_header Access-Control-Allow-Headers \
                        \"Accept, Authorization, Content-Type, X-Requested-With\" always;",
            }],
            Self::Clock => &[Remedy {
                program: "systemd, on the machine of the homeserver",
                lines: "timedatectl set-ntp true\ntimedatectl status",
            }],
            Self::Transports => &[Remedy {
                program: "Synapse: homeserver.yaml",
                lines: "experimental_features:\n  msc4143_enabled: true\nmatrix_rtc:\n  \
                        transports:\n    - type: livekit\n      \
                        livekit_service_url: https://rtc.example.org",
            }],
            Self::TokenService => &[
                Remedy {
                    program: "lk-jwt-service: environment",
                    lines: "LIVEKIT_URL=wss://rtc.example.org/livekit/sfu\n\
                            LIVEKIT_KEY=the key of livekit.yaml\n\
                            LIVEKIT_SECRET=the secret of livekit.yaml\n\
                            LIVEKIT_FULL_ACCESS_HOMESERVERS=example.org",
                },
                Remedy {
                    program: "nginx: server block of rtc.example.org",
                    lines: "location ~ ^/(sfu/get|get_token|healthz|delegate_delayed_leave) {\n    \
                            proxy_pass http://127.0.0.1:8080;\n}",
                },
            ],
            Self::Sfu => &[
                Remedy {
                    program: "nginx: server block of rtc.example.org",
                    lines: "location /livekit/sfu/ {\n    \
                            proxy_pass http://127.0.0.1:7880/;\n    \
                            proxy_http_version 1.1;\n    \
                            proxy_set_header Upgrade $http_upgrade;\n    \
                            proxy_set_header Connection \"upgrade\";\n    \
                            proxy_read_timeout 120s;\n}",
                },
                Remedy {
                    program: "LiveKit: livekit.yaml, and the firewall",
                    lines: "port: 7880\nrtc:\n  tcp_port: 7881\n  port_range_start: 50100\n  \
                            port_range_end: 50200\n  use_external_ip: true",
                },
            ],
            // Clients schedule their own goodbye without it.
            Self::Delegated => &[],
            Self::DelayedEvents | Self::DelayLimit => &[Remedy {
                program: "Synapse: homeserver.yaml",
                lines: "max_event_delay_duration: 24h",
            }],
            Self::StickyEvents => &[Remedy {
                program: "Synapse: homeserver.yaml",
                lines: "experimental_features:\n  msc4354_enabled: true",
            }],
            Self::Power => &[Remedy {
                program: "Element, in the room: /devtools → room state → m.room.power_levels",
                lines: "\"events\": {\n  \"org.matrix.msc3401.call.member\": 0,\n  \
                        \"org.matrix.msc3401.call\": 50\n}",
            }],
            Self::Acl => &[Remedy {
                program: "Element, in the room: /devtools → room state → m.room.server_acl",
                lines: "Take the server out of \"deny\", or add it to \"allow\".",
            }],
        }
    }
}
