//! Who asks, and which part of the site that viewer sees.

use crate::store::sign_in::api_keys::KeyScope;
use crate::store::visible::Viewer;
use crate::web::sign_in::{Asker, Identity};
use actix_web::HttpRequest;

/// The header of an answer that is made for somebody who does not see everything, and its value.
pub const SHOWS: &str = "x-callscope-shows";
pub const PART: &str = "part";

/// Who asks, as the gate found it. A request that did not pass the gate is nobody's.
#[must_use]
pub fn viewer_of_request(req: &HttpRequest) -> Viewer {
    let Some(asker) = Asker::of_request(req) else {
        return Viewer::Anonymous;
    };

    match asker.identity {
        Identity::Operator => Viewer::Operator,
        Identity::User { user_id } => Viewer::Account { user_id },
        Identity::WidgetUser { user_id, room_id } => Viewer::AccountInRoom { user_id, room_id },
        Identity::Key { scope, .. } => viewer_of_key(scope, req.path()),
        Identity::Share { link } => Viewer::HasShareLink {
            call_id: link.call_id,
            with_names: link.with_names,
        },
        Identity::Anonymous => Viewer::Anonymous,
    }
}

/// Who a program with a key of this scope is, at this path.
fn viewer_of_key(scope: KeyScope, path: &str) -> Viewer {
    match scope {
        KeyScope::All => Viewer::Operator,
        // The numbers of the metrics are those of everything.
        KeyScope::Metrics if path == "/metrics" => Viewer::Operator,
        KeyScope::Metrics | KeyScope::Public => Viewer::Anonymous,
    }
}

/// Which part of the site this viewer sees, in words; `None` if it is everything.
#[must_use]
pub fn words_of_part(viewer: &Viewer) -> Option<&'static str> {
    match viewer {
        Viewer::Operator => None,
        Viewer::Account { .. } => {
            Some("You see the calls of public rooms, and of the rooms that you are or were in.")
        }
        Viewer::HasShareLink { with_names, .. } if *with_names => {
            Some("You see one call, which was shared with you.")
        }
        Viewer::HasShareLink { .. } => {
            Some("You see one call, which was shared with you, and pseudonyms of people.")
        }
        Viewer::AccountInRoom { .. } => Some("You see the calls of one room."),
        Viewer::Anonymous => Some(
            "You see the calls of public rooms, and pseudonyms of people. A person has another \
             one in each room.",
        ),
    }
}
