//! What would be said over and over is said once a minute.

use std::time::Duration;

use tokio::time::Instant;

/// The same complaint is repeated after this time at the earliest.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// Keeps the log from filling with one and the same sentence.
#[derive(Debug, Default)]
pub struct Complaint {
    said: Option<Instant>,
    unsaid: u64,
}

impl Complaint {
    /// How often it was not said since the last time, if it may be said now.
    pub fn due(&mut self) -> Option<u64> {
        if self.said.is_some_and(|said| said.elapsed() < SAY_AGAIN) {
            self.unsaid += 1;
            return None;
        }
        self.said = Some(Instant::now());
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn once_a_minute_with_the_number_of_the_others() {
        let mut complaint = Complaint::default();
        assert_eq!([complaint.due(), complaint.due(), complaint.due()], [Some(0), None, None]);
        tokio::time::advance(SAY_AGAIN).await;
        assert_eq!([complaint.due(), complaint.due()], [Some(2), None]);
    }
}
