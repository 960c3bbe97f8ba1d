//! Several hosts of one cluster: taken in turn, left out while they are down.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::net::http::{HostError, base};
use crate::net::pace::Pace;

/// A host may fail so many requests more than it answers well before others are preferred to it.
const BUDGET: u32 = 10;

/// Round-robin over hosts with their health. A host that failed is left out for a growing while; then one request tries
/// it (half-open), and the next failure closes it again. One that answers, but with refusals, is left out as well once it
/// has used up its budget of retries and another is up: what it cannot take, the others may.
#[derive(Debug)]
pub struct Hosts {
    hosts: Vec<Host>,
    next: AtomicUsize,
    pace: Pace,
    /// Wakes whoever waits for a host.
    risen: Notify,
}

#[derive(Debug)]
struct Host {
    /// Scheme, authority and path prefix, without a slash at its end.
    base: String,
    health: Mutex<Health>,
}

#[derive(Debug, Default)]
struct Health {
    failures: u32,
    /// Left out until then.
    until: Option<Instant>,
    /// Requests in vain, less those that went well.
    spent: u32,
}

/// Where the next request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pick {
    Host(usize),
    /// All are down; the first is tried again after this.
    Wait(Duration),
}

impl Hosts {
    pub fn new(urls: &[String], pace: Pace) -> Result<Self, HostError> {
        if urls.is_empty() {
            return Err(HostError::None);
        }
        let host = |url: &String| Ok(Host { base: base(url)?, health: Mutex::default() });
        let hosts = urls.iter().map(host).collect::<Result<_, HostError>>()?;
        // Nodes that start together do not all begin with the first host.
        Ok(Self { hosts, next: AtomicUsize::new(fastrand::usize(..urls.len())), pace, risen: Notify::new() })
    }

    pub fn base(&self, host: usize) -> &str {
        &self.hosts[host].base
    }

    /// The next host that is up, or whose time to be tried again has come.
    pub fn pick(&self) -> Pick {
        let now = Instant::now();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let mut soonest = Duration::MAX;
        for step in 0..self.hosts.len() {
            let index = first.wrapping_add(step) % self.hosts.len();
            let mut health = self.health(index);
            match health.until {
                None => return Pick::Host(index),
                Some(until) if until <= now => {
                    // Half-open: others leave it out while this one request tries it.
                    health.until = Some(now + self.pace.retry(health.failures + 1));
                    return Pick::Host(index);
                }
                Some(until) => soonest = soonest.min(until - now),
            }
        }
        Pick::Wait(soonest)
    }

    /// Ends as soon as a host is up. Without it, all that met a host's absence would sleep on for as long as they were told,
    /// though one of them has found it back.
    pub async fn any_up(&self) {
        loop {
            let mut risen = std::pin::pin!(self.risen.notified());
            risen.as_mut().enable();
            if (0..self.hosts.len()).any(|host| self.health(host).until.is_none()) {
                return;
            }
            risen.await;
        }
    }

    pub fn up(&self, host: usize) {
        let mut health = self.health(host);
        (health.failures, health.spent) = (0, health.spent.saturating_sub(1));
        self.reached(health);
    }

    fn reached(&self, mut health: MutexGuard<'_, Health>) {
        if health.until.take().is_some() {
            self.risen.notify_waiters();
        }
    }

    /// It answered, but did not do what it was asked.
    pub fn strained(&self, host: usize) {
        let others = (0..self.hosts.len()).any(|other| other != host && self.health(other).until.is_none());
        let mut health = self.health(host);
        health.spent = (health.spent + 1).min(BUDGET);
        if others && health.spent >= BUDGET {
            self.lost(health);
        } else {
            self.reached(health);
        }
    }

    pub fn down(&self, host: usize) {
        self.lost(self.health(host));
    }

    fn lost(&self, mut health: MutexGuard<'_, Health>) {
        health.failures = health.failures.saturating_add(1);
        health.until = Some(Instant::now() + self.pace.retry(health.failures));
    }

    fn health(&self, host: usize) -> MutexGuard<'_, Health> {
        self.hosts[host].health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(count: usize) -> Hosts {
        let urls: Vec<_> = (0..count).map(|n| format!("http://h{n}:9200")).collect();
        let hosts = Hosts::new(&urls, Pace::default()).unwrap();
        hosts.next.store(0, Ordering::Relaxed);
        hosts
    }

    #[test]
    fn there_must_be_one() {
        assert_eq!(Hosts::new(&[], Pace::default()).unwrap_err(), HostError::None);
    }

    #[tokio::test(start_paused = true)]
    async fn in_turn_without_those_that_are_down() {
        let hosts = hosts(3);
        let picks = |count: usize| (0..count).map(|_| hosts.pick()).collect::<Vec<_>>();
        assert_eq!(picks(4), [0, 1, 2, 0].map(Pick::Host));
        hosts.down(1);
        assert!(!picks(6).contains(&Pick::Host(1)));
        hosts.up(1);
        assert!(picks(3).contains(&Pick::Host(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_was_down_is_tried_by_one_request() {
        let hosts = hosts(1);
        hosts.down(0);
        let Pick::Wait(wait) = hosts.pick() else { panic!("down") };
        tokio::time::advance(wait).await;
        assert_eq!(hosts.pick(), Pick::Host(0), "half-open");
        assert!(matches!(hosts.pick(), Pick::Wait(_)), "but for one request only");
        (0..40).for_each(|_| hosts.down(0));
        assert!(matches!(hosts.pick(), Pick::Wait(wait) if wait <= Pace::default().retry_max));
        hosts.up(0);
        assert_eq!((hosts.pick(), hosts.pick()), (Pick::Host(0), Pick::Host(0)));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_a_host_goes_on_when_one_is_up() {
        let hosts = std::sync::Arc::new(hosts(2));
        (0..40).for_each(|_| [0, 1].iter().for_each(|host| hosts.down(*host)));
        let began = Instant::now();
        let waiting: Vec<_> =
            (0..3).map(|_| hosts.clone()).map(|hosts| tokio::spawn(async move { hosts.any_up().await })).collect();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(waiting.iter().all(|task| !task.is_finished()), "none is up");
        hosts.down(0);
        hosts.strained(1);
        for task in waiting {
            task.await.unwrap();
        }
        hosts.any_up().await;
        assert_eq!(began.elapsed(), Duration::from_secs(1), "it answered, if in vain");
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_only_refuses_is_left_to_itself_when_its_budget_is_spent() {
        let two = hosts(2);
        let has = |host| (0..4).any(|_| two.pick() == Pick::Host(host));
        for _ in 0..BUDGET - 1 {
            two.strained(0);
        }
        assert!(has(0), "it may fail so often");
        two.up(0);
        two.strained(0);
        assert!(has(0), "a success pays for one");
        two.strained(0);
        assert!(!has(0) && has(1));
        tokio::time::advance(Pace::default().retry_max).await;
        assert!(has(0), "half-open");
        two.strained(0);
        assert!(!has(0), "and closed again");

        let one = hosts(1);
        (0..3 * BUDGET).for_each(|_| one.strained(0));
        assert_eq!(one.pick(), Pick::Host(0), "nobody else is there");
    }
}
