//! Who may see what. A [`Reader`](super::Reader) reads for one [`Viewer`]. The connections of a
//! viewer who may not see everything have views in the place of the tables, which show only what
//! that viewer may see. So a read cannot forget it.

mod pseudonyms;
mod readers;
mod rooms;
pub(in crate::store) mod version;
mod viewer;
pub(in crate::store) mod views;

pub(in crate::store) use pseudonyms::HIDDEN_SERVER;
pub(in crate::store) use readers::VisibleReaders;
pub use rooms::VisibleRooms;
pub use viewer::{PeopleShown, Viewer, VisibilityPolicy};

#[cfg(test)]
mod tests;
