//! The closed sets of words in the document: each is a schema of its own, with all its words.

use crate::rtc::coverage::Cover;
use crate::rtc::evidence::{BoundaryBasis, Certainty};
use crate::rtc::finding_kind::{FindingKind, Mender, Severity, Sureness};
use crate::rtc::ghost::{GhostClass, GhostSign};
use crate::rtc::present::UnknownReason;
use crate::rtc::related::RelatedKind;
use crate::rtc::ring::RingOutcome;
use crate::rtc::server_check::{CheckStep, StepState};
use crate::rtc::support::ContactRole;
use crate::rtc::words::{EndReason, Format, JobEnd, Mode, Source, Watch};
use crate::store::db::health::TroubleKind;
use crate::store::ingest::probes::AnswerState;
use crate::store::ingest::receive_times::ClockWitness;
use crate::store::ingest::state_resets::ResetKind;
use crate::web::outputs::badge::BadgeStyle;
use crate::web::pages::census::SwitchState;
use crate::web::pages::period::Bucket;
use crate::web::sign_in::access::Audience;
use crate::web::view::CallState;
use crate::web::view::clock::DelayedVerdict;
use crate::web::view::event::EventMeaning;
use crate::web::view::history::WalkReason;
use crate::web::view::ring::CallLink;
use crate::web::view::room_needs::RoomProblem;
use crate::web::view::server_check::CheckVerdict;
use std::borrow::Cow;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// The schema of a text that is one of these words.
fn schema_of_words(words: &'static [&'static str]) -> RefOr<Schema> {
    let text = ObjectBuilder::new().schema_type(Type::String);

    text.enum_values(Some(words.iter().copied())).into()
}

/// Makes a schema of each of these sets.
macro_rules! word_schemas {
    ($($set:ident,)+) => {
        $(
            impl PartialSchema for $set {
                fn schema() -> RefOr<Schema> {
                    schema_of_words(Self::WORDS)
                }
            }

            impl ToSchema for $set {
                fn name() -> Cow<'static, str> {
                    Cow::Borrowed(stringify!($set))
                }
            }
        )+
    };
}

word_schemas! {
    AnswerState,
    Audience,
    BadgeStyle,
    BoundaryBasis,
    Bucket,
    CallLink,
    CallState,
    Certainty,
    CheckStep,
    CheckVerdict,
    ClockWitness,
    ContactRole,
    Cover,
    DelayedVerdict,
    EndReason,
    EventMeaning,
    FindingKind,
    Format,
    GhostClass,
    GhostSign,
    JobEnd,
    Mender,
    Mode,
    RelatedKind,
    ResetKind,
    RingOutcome,
    RoomProblem,
    Severity,
    Source,
    StepState,
    Sureness,
    SwitchState,
    TroubleKind,
    UnknownReason,
    WalkReason,
    Watch,
}
