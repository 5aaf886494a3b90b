//! Limits the requests of one address, so that a flood from it does not keep the others waiting.

use super::error::Error;
use super::response::{self, PageRequest};
use crate::web::Web;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::web::Data;
use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Seconds of requests that an address may make at once: a page is asked for with its pictures,
/// and people open several.
const BURST_S: u32 = 10;
/// Minimum number of known addresses at which those that ask for nothing any more are forgotten.
const FORGET_AT: usize = 4096;

/// The requests of each address. Cheap to clone: all clones share the same data.
#[derive(Clone)]
pub struct RateLimit<C: Clock = DefaultClock>(Arc<Addresses<C>>);

struct Addresses<C: Clock> {
    limiter:
        RateLimiter<IpAddr, DashMapStateStore<IpAddr>, C, NoOpMiddleware<<C as Clock>::Instant>>,
    clock: C,
    /// How many addresses there are when idle ones are forgotten next.
    forget_at: AtomicUsize,
    refused: AtomicU64,
}

impl<C: Clock> fmt::Debug for RateLimit<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit").finish_non_exhaustive()
    }
}

impl RateLimit {
    /// Limits each address to this many requests a second, and to ten seconds of them at once.
    #[must_use]
    pub fn per_second(requests: NonZeroU32) -> Self {
        Self::with_clock(requests, DefaultClock::default())
    }
}

impl<C: Clock + Clone> RateLimit<C> {
    fn with_clock(requests: NonZeroU32, clock: C) -> Self {
        let burst = requests.saturating_mul(NonZeroU32::MIN.saturating_add(BURST_S - 1));
        let quota = Quota::per_second(requests).allow_burst(burst);

        Self(Arc::new(Addresses {
            limiter: RateLimiter::new(quota, DashMapStateStore::default(), clock.clone()),
            clock,
            forget_at: AtomicUsize::new(FORGET_AT),
            refused: AtomicU64::new(0),
        }))
    }

    /// The number of requests that were refused since the start.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// Counts a request of this client. If it is one too many, returns after how many seconds the
    /// next one is answered.
    fn refuse(&self, client: IpAddr) -> Option<u64> {
        let refused = self.0.limiter.check_key(&network_of_client(client)).err();
        self.forget_idle_addresses();
        let wait = refused?.wait_time_from(self.0.clock.now());
        self.0.refused.fetch_add(1, Ordering::Relaxed);

        Some(u64::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u64::MAX))
    }

    /// Forgets addresses whose requests count no longer, when there are many addresses. The next
    /// time is when there are twice as many, so that this costs little for each request.
    fn forget_idle_addresses(&self) {
        let limiter = &self.0.limiter;
        if limiter.len() < self.0.forget_at.load(Ordering::Relaxed) {
            return;
        }

        limiter.retain_recent();
        limiter.shrink_to_fit();
        let next = limiter.len().saturating_mul(2).max(FORGET_AT);
        self.0.forget_at.store(next, Ordering::Relaxed);
    }
}

/// The address, or of IPv6 the network of 64 bits: one client has all addresses of it.
pub(super) fn network_of_client(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from(network))
        }
    }
}

/// Answers 429 to a client that asks too often, and passes other requests on.
///
/// # Errors
/// Those of the guarded service.
pub async fn refuse_floods(
    web: Data<Web>,
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let client = web.access.client_for_limits(req.headers(), req.peer_addr());
    let wait_s = web
        .memory
        .rate_limit
        .as_ref()
        // Programs on this machine are not limited.
        .and_then(|limit| limit.refuse(client?));
    let Some(wait_s) = wait_s else {
        return Ok(next.call(req).await?.map_into_boxed_body());
    };

    let ask = PageRequest::of_request(req.request(), &web);

    Ok(req.into_response(response::send_error(&ask, &Error::TooMany { wait_s })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use governor::clock::FakeRelativeClock;
    use std::time::Duration;

    fn limit(requests: u32) -> (RateLimit<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let requests = NonZeroU32::new(requests).unwrap();

        (RateLimit::with_clock(requests, clock.clone()), clock)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_that_asks_too_often_waits_and_the_others_do_not() {
        let (limit, clock) = limit(2);
        let flood = ip("192.0.2.1");
        for _ in 0..20 {
            assert_eq!(limit.refuse(flood), None);
        }

        assert_eq!(limit.refuse(flood), Some(1));
        assert_eq!(limit.refuse(ip("192.0.2.2")), None);
        clock.advance(Duration::from_millis(500));
        assert_eq!(limit.refuse(flood), None);
        assert_eq!(limit.refuse(flood), Some(1));
        assert_eq!(limit.refused(), 2);
    }

    #[test]
    fn a_network_of_one_client_is_one_address() {
        let (limit, _) = limit(1);
        for last in 0..10 {
            assert_eq!(limit.refuse(ip(&format!("2001:db8::{last}"))), None);
        }

        assert_eq!(limit.refuse(ip("2001:db8::ff")), Some(1));
        assert_eq!(limit.refuse(ip("2001:db8:0:1::1")), None);
    }

    #[test]
    fn idle_addresses_are_forgotten() {
        let (limit, clock) = limit(1);
        for number in 0..u32::try_from(FORGET_AT).unwrap() {
            limit.refuse(IpAddr::V4(number.saturating_add(1 << 28).into()));
            clock.advance(Duration::from_millis(10));
        }

        // A request counts for a second or two.
        let known = limit.0.limiter.len();
        assert!(known <= 300, "{known}");
    }
}
