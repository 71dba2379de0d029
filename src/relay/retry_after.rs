//! `Retry-After` (RFC 9110, 10.2.3): how long a server that refuses wants to be left alone. It is a number
//! of seconds, or a date, of which servers may write one form only (`Fri, 31 Dec 1999 23:59:59 GMT`).

use std::time::Duration;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// How long from now (unix seconds) on; `None`: it says nothing that can be read. What is past is no time.
pub(super) fn retry_after(value: &str, now: u64) -> Option<Duration> {
    let value = value.trim();
    let seconds = match value.parse() {
        Ok(seconds) => seconds,
        Err(_) => unix_of(value)?.saturating_sub(now),
    };
    Some(Duration::from_secs(seconds))
}

/// Unix seconds of a date in that form. The day of the week says nothing new and is not looked at.
fn unix_of(date: &str) -> Option<u64> {
    let mut words = date.split_once(", ")?.1.split(' ');
    let mut word = || words.next();
    let day: u64 = word()?.parse().ok().filter(|day| (1..=31).contains(day))?;
    let name = word()?;
    let month = MONTHS.iter().position(|month| *month == name)? as u64 + 1;
    let year: u64 = word()?.parse().ok().filter(|year| (1970..=9999).contains(year))?;
    let mut time = word()?.split(':').map(|part| part.parse::<u64>().ok());
    let mut below = |most| time.next()?.filter(|part| *part < most);
    let (hour, minute, second) = (below(24)?, below(60)?, below(61)?);
    if time.next().is_some() || word() != Some("GMT") || word().is_some() {
        return None;
    }
    Some(((days_until(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

/// Days from 1 January 1970 to this one. A year is taken to begin in March, so that the leap day is its last.
const fn days_until(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read() {
        for (date, unix) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Fri, 31 Dec 1999 23:59:60 GMT", 946_684_800),
            ("Tue, 29 Feb 2000 00:00:00 GMT", 951_782_400),
            ("Wed, 01 Mar 2000 00:00:00 GMT", 951_868_800),
            ("Sun, 29 Nov 2026 02:38:16 GMT", 1_795_919_896),
            ("Mon, 01 Mar 2100 00:00:00 GMT", 4_107_542_400),
        ] {
            assert_eq!(unix_of(date), Some(unix), "{date}");
        }
    }

    #[test]
    fn what_is_no_such_date_says_nothing() {
        for date in [
            "",
            "soon",
            "-5",
            "1.5",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 Nov 1994 08:49:37 GMT+1",
            "Sun, 06 Nov 1994 08:49:37 GMT or so",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 06 Nov 1994 08:49:37:00 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1969 08:49:37 GMT",
            "Sun, 06 Nov 18446744073709551615 08:49:37 GMT",
        ] {
            assert_eq!(retry_after(date, 0), None, "{date}");
        }
    }

    #[test]
    fn it_is_a_time_from_now_on() {
        let after = |value| retry_after(value, 784_111_777 - 90);
        assert_eq!(after(" 120 "), Some(Duration::from_mins(2)));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(90)));
        assert_eq!(after("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO), "it is past");
    }
}
