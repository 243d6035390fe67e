//! Who may connect, and how fast: connections in all and per source, messages per second per source.
//!
//! The rate is a token bucket in its virtual-scheduling form (GCRA): each source has the time at which it has paid for all
//! that it sent. Who is ahead of that by more than a second's worth waits; nobody is turned away for being quick.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a source may be ahead.
const BURST: Duration = Duration::from_secs(1);
/// The longest wait: a source that is further ahead than this is cut off.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// The bounds, and who is there. Shared by all connections.
pub struct Limits {
    max_connections: usize,
    max_per_source: usize,
    /// What one message costs, in time.
    cost: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connections: usize,
    sources: HashMap<IpAddr, Source>,
}

struct Source {
    connections: usize,
    /// When everything that was sent is paid for.
    paid: Instant,
}

/// Why a connection was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// There are too many in all.
    All,
    /// There are too many of this source.
    Source,
}

/// A place for one connection, given back when it is dropped.
pub struct Place {
    limits: Arc<Limits>,
    source: IpAddr,
}

impl Limits {
    /// These bounds, and nobody there.
    #[must_use]
    pub fn new(max_connections: usize, max_per_source: usize, messages_per_second: u32) -> Arc<Self> {
        let cost = Duration::from_secs(1).checked_div(messages_per_second).unwrap_or(BURST);
        Arc::new(Self { max_connections, max_per_source, cost, state: Mutex::default() })
    }

    /// Lets a connection in.
    ///
    /// # Errors
    /// Which bound is reached.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Result<Place, Full> {
        let source = source(address);
        let mut state = self.state();
        if state.connections >= self.max_connections {
            return Err(Full::All);
        }
        let entry = state.sources.entry(source).or_insert_with(|| Source { connections: 0, paid: Instant::now() });
        if entry.connections >= self.max_per_source {
            return Err(Full::Source);
        }
        entry.connections = entry.connections.saturating_add(1);
        state.connections = state.connections.saturating_add(1);
        Ok(Place { limits: Arc::clone(self), source })
    }

    /// Forgets the sources that are gone and have paid.
    pub fn sweep(&self, now: Instant) {
        self.state().sources.retain(|_, source| source.connections > 0 || source.paid > now);
    }

    /// The lock is never held over anything that can panic half-way: what is in it is good, poisoned or not.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Pays for `messages` messages, and says how long to wait before going on; `None` cuts the connection off.
    #[must_use]
    pub fn pay(&self, messages: u32, now: Instant) -> Option<Duration> {
        let mut state = self.limits.state();
        let source = state.sources.get_mut(&self.source)?;
        let paid = source.paid.max(now).checked_add(self.limits.cost.saturating_mul(messages))?;
        let wait = paid.saturating_duration_since(now).saturating_sub(BURST);
        if wait > MAX_WAIT {
            return None;
        }
        source.paid = paid;
        Some(wait)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.limits.state();
        state.connections = state.connections.saturating_sub(1);
        if let Some(source) = state.sources.get_mut(&self.source) {
            source.connections = source.connections.saturating_sub(1);
        }
    }
}

/// What counts as one source: an IPv4 address, or the /64 that a site gets under IPv6.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const TWO: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn places_are_bounded_and_given_back() {
        let limits = Limits::new(3, 2, 10);
        let first = limits.enter(ONE).ok();
        let _second = limits.enter(ONE).ok();
        assert_eq!(limits.enter(ONE).err(), Some(Full::Source));
        let _third = limits.enter(TWO).ok();
        assert_eq!(limits.enter(TWO).err(), Some(Full::All));
        drop(first);
        assert_eq!(limits.state().connections, 2);
        assert!(limits.enter(ONE).is_ok());
    }

    #[test]
    fn a_second_is_free_then_each_message_waits_its_turn() {
        let limits = Limits::new(3, 2, 10);
        let now = Instant::now();
        let place = limits.enter(ONE).ok().unwrap();
        for _ in 0..9 {
            assert_eq!(place.pay(1, now), Some(Duration::ZERO));
        }
        assert!(place.pay(2, now).unwrap() >= Duration::from_millis(99));
        assert!(place.pay(1, now).unwrap() >= Duration::from_millis(199));
        assert_eq!(place.pay(100, now), None, "too far ahead");
        assert_eq!(place.pay(1, now + Duration::from_secs(2)), Some(Duration::ZERO));
        assert_eq!(limits.enter(TWO).ok().unwrap().pay(1, now), Some(Duration::ZERO), "another source");
    }

    #[test]
    fn a_source_that_reconnects_has_not_paid_by_that() {
        let limits = Limits::new(3, 2, 10);
        let now = Instant::now();
        let _ = limits.enter(ONE).ok().unwrap().pay(50, now);
        limits.sweep(now);
        assert!(limits.enter(ONE).ok().unwrap().pay(1, now).unwrap() > Duration::from_secs(3));
        limits.sweep(now + Duration::from_secs(60));
        assert!(limits.state().sources.is_empty());
    }

    #[test]
    fn a_site_is_one_source() {
        let address = |text: &str| source(text.parse().unwrap());
        assert_eq!(address("2001:db8:1:2::1"), address("2001:db8:1:2:ffff::2"));
        assert_ne!(address("2001:db8:1:2::1"), address("2001:db8:1:3::1"));
        assert_eq!(address("::ffff:192.0.2.1"), ONE);
    }
}
