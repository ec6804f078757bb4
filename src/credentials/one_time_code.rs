//! One-time codes by RFC 6238: SHA-1, 6 digits, steps of 30 s, one step of
//! tolerance either side, each step accepted once (section 5.2).

use totp_rs::{Algorithm, Builder, Secret, Totp};

use crate::clock::Timestamp;
use crate::model::{SecondFactor, TotpSecret};

/// Length of a time step in seconds.
pub const STEP_SECONDS: u64 = 30;

/// The time step a code is good for, unless that step or a later one has been
/// used. The store must then take the step, or the code counts twice.
#[must_use]
pub fn check(factor: &SecondFactor, code: &str, now: Timestamp) -> Option<u64> {
    let seconds = u64::try_from(now.timestamp()).ok()?;
    generator(&factor.secret)
        .check(code, seconds)
        .filter(|step| *step > factor.last_step)
}

/// The code of the step that holds `now`: what an authenticator shows.
#[must_use]
pub fn current(secret: &TotpSecret, now: Timestamp) -> String {
    let seconds = u64::try_from(now.timestamp()).unwrap_or(0);
    generator(secret).generate(seconds).to_string()
}

fn generator(secret: &TotpSecret) -> Totp {
    Builder::new()
        .with_algorithm(Algorithm::SHA1)
        .with_digits(6)
        .with_skew(1)
        .with_step_duration(STEP_SECONDS)
        .with_secret(Secret::new(secret.expose().into()))
        .build_noncompliant()
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    /// The seed of RFC 6238, appendix B, and its SHA-1 rows, cut to 6 digits.
    fn rfc_factor() -> SecondFactor {
        SecondFactor {
            secret: TotpSecret::new(b"12345678901234567890".to_vec()),
            last_step: 0,
        }
    }

    #[test]
    fn vectors_of_rfc_6238() {
        for (time, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            let now = DateTime::from_timestamp(time, 0).unwrap();
            assert_eq!(current(&rfc_factor().secret, now), code);
            assert_eq!(
                check(&rfc_factor(), code, now),
                Some(u64::try_from(time).unwrap() / STEP_SECONDS)
            );
        }
    }

    #[test]
    fn one_step_of_tolerance_either_side_and_no_more() {
        let code_time = 1_111_111_111;
        let accepted = |at: i64| {
            let now = DateTime::from_timestamp(at, 0).unwrap();
            check(&rfc_factor(), "050471", now).is_some()
        };
        assert!(accepted(code_time - 30) && accepted(code_time) && accepted(code_time + 30));
        assert!(!accepted(code_time - 90) && !accepted(code_time + 90));
    }

    #[test]
    fn a_used_step_and_those_before_it_are_refused() {
        let now = DateTime::from_timestamp(1_111_111_111, 0).unwrap();
        let mut factor = rfc_factor();
        let step = check(&factor, "050471", now).unwrap();
        factor.last_step = step;
        assert_eq!(check(&factor, "050471", now), None);
        factor.last_step = step + 1;
        assert_eq!(check(&factor, "050471", now), None);
        factor.last_step = step - 1;
        assert_eq!(check(&factor, "050471", now), Some(step));
    }
}
