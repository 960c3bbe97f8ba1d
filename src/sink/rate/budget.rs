//! Records a second, on average, with bursts of one second's worth.

/// A budget of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Eps {
    pub limit: u32,
    /// Allowed flows give way when it is used up; otherwise everything waits.
    pub suppress: bool,
}

/// Tokens, which may go below zero: what must not wait is paid later.
#[derive(Debug)]
pub struct Budget {
    limit: f64,
    tokens: f64,
    at_ms: i64,
}

impl Budget {
    pub fn new(eps: Eps) -> Self {
        let limit = f64::from(eps.limit.max(1));
        Self { limit, tokens: limit, at_ms: i64::MIN }
    }

    /// Unix milliseconds; a clock that goes back gives nothing.
    pub fn is_used_up(&mut self, now_ms: i64) -> bool {
        if self.at_ms == i64::MIN {
            self.at_ms = now_ms;
        }
        let passed = now_ms.saturating_sub(self.at_ms);
        if passed > 0 {
            self.tokens = (self.tokens + self.limit * passed as f64 / 1000.0).min(self.limit);
            self.at_ms = now_ms;
        } else if passed < -60_000 {
            // The clock was set: from here on.
            self.at_ms = now_ms;
        }
        self.tokens < 1.0
    }

    pub fn spend(&mut self, records: u64) {
        self.tokens -= records as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_a_second_on_average() {
        let mut budget = Budget::new(Eps { limit: 10, suppress: false });
        let mut sent = Vec::new();
        for ms in (0..10_000).step_by(50) {
            if !budget.is_used_up(ms) {
                budget.spend(1);
                sent.push(ms);
            }
        }
        // The burst at the beginning, then ten a second.
        assert!((99..=110).contains(&sent.len()), "{}", sent.len());
        // A batch beyond the budget is paid later.
        let mut budget = Budget::new(Eps { limit: 10, suppress: false });
        assert!(!budget.is_used_up(0));
        budget.spend(40);
        assert!(budget.is_used_up(3_000));
        assert!(!budget.is_used_up(3_200));
        // A clock that was set back does not stop it for ever.
        budget.spend(10);
        assert!(budget.is_used_up(-1_000_000));
        assert!(!budget.is_used_up(-998_000));
    }
}
