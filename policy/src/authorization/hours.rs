//! When a caller may call: weekly windows in a time zone, and dates on which they do not count.

use std::{collections::BTreeSet, fmt};

use jiff::{
    Timestamp,
    civil::{self, DateTime},
    tz::{TimeZone, TimeZoneDatabase},
};
use serde::{Deserialize, Serialize};

use super::Judgement;

/// Weekly windows on the clocks of one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hours {
    /// Whose clocks.
    pub time_zone: TimeZoneName,
    /// The moment lies in one of these.
    pub windows: Vec<Window>,
    /// Windows that begin on these dates do not count.
    pub except_dates: BTreeSet<Date>,
}

/// From one time of day to another, on some days of the week.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Window {
    /// The days on which it begins; empty means every day.
    pub weekdays: BTreeSet<Weekday>,
    /// The first minute.
    pub from: TimeOfDay,
    /// The first minute after it; earlier than `from` when it lasts past midnight.
    pub to: TimeOfDay,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

/// Minutes since midnight, 0 to 1,440; written `08:30`, and `24:00` for the end of the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeOfDay(u16);

/// A date; written `2026-12-25`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Date(civil::Date);

/// A name of the IANA time zone database, as the build of this program knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeZoneName(String);

/// A text that is no time, date or zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum InvalidHours {
    #[error("{0:?} is not a date such as 2026-12-25")]
    Date(String),
    #[error("{0:?} is not a time of day from 00:00 to 24:00")]
    Time(String),
    #[error("{0:?} is not a name of the IANA time zone database such as Europe/Vienna")]
    Zone(String),
}

impl Hours {
    /// The zone, to be looked up once.
    pub fn zone(&self) -> Result<TimeZone, InvalidHours> {
        self.time_zone.zone()
    }

    /// Judges a moment, in milliseconds since 1970, on the clocks of `zone`, which is [`Hours::zone`].
    pub fn judge(&self, zone: &TimeZone, unix_millis: u64) -> Judgement {
        let moment = i64::try_from(unix_millis).ok().and_then(|millis| Timestamp::from_millisecond(millis).ok());
        let Some(local) = moment.map(|moment| zone.to_datetime(moment)) else { return Judgement::Fault };
        Judgement::of(self.windows.iter().any(|window| self.within(window, local)))
    }

    fn within(&self, window: &Window, local: DateTime) -> bool {
        let minute = i32::from(local.hour()) * 60 + i32::from(local.minute());
        let (from, to) = (i32::from(window.from.0), i32::from(window.to.0));
        let begins = |date: civil::Date| {
            let weekday = Weekday::of(date.weekday());
            (window.weekdays.is_empty() || window.weekdays.contains(&weekday))
                && !self.except_dates.contains(&Date(date))
        };
        let today = local.date();
        // One that ends as it begins is empty.
        if from <= to {
            return begins(today) && (from..to).contains(&minute);
        }
        let yesterday = today.yesterday();
        (minute >= from && begins(today)) || (minute < to && yesterday.is_ok_and(begins))
    }
}

impl Weekday {
    fn of(day: civil::Weekday) -> Self {
        match day {
            civil::Weekday::Monday => Self::Monday,
            civil::Weekday::Tuesday => Self::Tuesday,
            civil::Weekday::Wednesday => Self::Wednesday,
            civil::Weekday::Thursday => Self::Thursday,
            civil::Weekday::Friday => Self::Friday,
            civil::Weekday::Saturday => Self::Saturday,
            civil::Weekday::Sunday => Self::Sunday,
        }
    }
}

impl TimeZoneName {
    /// From the database that is built in: the same answer on every machine, and no file is read.
    fn zone(&self) -> Result<TimeZone, InvalidHours> {
        let found = TimeZoneDatabase::bundled().get(&self.0);
        found.map_err(|_ignored: jiff::Error| InvalidHours::Zone(self.0.clone()))
    }
}

impl TryFrom<String> for TimeZoneName {
    type Error = InvalidHours;

    fn try_from(text: String) -> Result<Self, InvalidHours> {
        let name = Self(text);
        name.zone()?;
        Ok(name)
    }
}

impl From<TimeZoneName> for String {
    fn from(name: TimeZoneName) -> Self {
        name.0
    }
}

impl TryFrom<String> for TimeOfDay {
    type Error = InvalidHours;

    fn try_from(text: String) -> Result<Self, InvalidHours> {
        let number = |digits: &str| -> Option<u16> {
            let two = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
            digits.parse().ok().filter(|_| two)
        };
        let parsed = text.split_once(':').and_then(|(hour, minute)| Some((number(hour)?, number(minute)?)));
        match parsed {
            Some((hour @ 0..24, minute @ 0..60)) => Ok(Self(hour * 60 + minute)),
            Some((24, 0)) => Ok(Self(24 * 60)),
            _ => Err(InvalidHours::Time(text)),
        }
    }
}

impl From<TimeOfDay> for String {
    fn from(time: TimeOfDay) -> Self {
        format!("{:02}:{:02}", time.0 / 60, time.0 % 60)
    }
}

impl TryFrom<String> for Date {
    type Error = InvalidHours;

    fn try_from(text: String) -> Result<Self, InvalidHours> {
        let parsed = text.parse::<civil::Date>().ok().filter(|date| date.to_string() == text);
        parsed.map(Self).ok_or(InvalidHours::Date(text))
    }
}

impl From<Date> for String {
    fn from(date: Date) -> Self {
        date.0.to_string()
    }
}

impl fmt::Display for TimeZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judge(hours: &serde_json::Value, moment: &str) -> Judgement {
        let hours: Hours = serde_json::from_value(hours.clone()).unwrap();
        let millis = moment.parse::<Timestamp>().unwrap().as_millisecond();
        hours.judge(&hours.zone().unwrap(), u64::try_from(millis).unwrap())
    }

    #[test]
    fn windows_follow_the_clocks_of_their_place() {
        let office = json!({
            "timeZone": "Europe/Vienna", "exceptDates": ["2026-12-24"],
            "windows": [{"weekdays": ["Monday", "Thursday"], "from": "08:00", "to": "18:00"}],
        });
        for (moment, inside) in [
            ("2026-11-23T06:59:59Z", false), // Monday 07:59 in winter
            ("2026-11-23T07:00:00Z", true),
            ("2026-11-23T16:59:59Z", true),
            ("2026-11-23T17:00:00Z", false),
            ("2026-07-06T06:00:00Z", true), // Monday 08:00 in summer
            ("2026-07-06T16:00:00Z", false),
            ("2026-11-24T10:00:00Z", false), // Tuesday
            ("2026-12-17T10:00:00Z", true),
            ("2026-12-24T10:00:00Z", false), // an excepted Thursday
        ] {
            assert_eq!(judge(&office, moment), Judgement::of(inside), "{moment}");
        }
        let hours: Hours = serde_json::from_value(office).unwrap();
        assert_eq!(hours.judge(&hours.zone().unwrap(), u64::MAX), Judgement::Fault);
    }

    #[test]
    fn a_window_that_ends_as_it_begins_is_never_open() {
        let empty = json!({
            "timeZone": "UTC", "exceptDates": [], "windows": [{"weekdays": [], "from": "08:00", "to": "08:00"}],
        });
        for moment in ["2026-11-23T07:59:00Z", "2026-11-23T08:00:00Z", "2026-11-23T20:00:00Z"] {
            assert_eq!(judge(&empty, moment), Judgement::Fails, "{moment}");
        }
    }

    #[test]
    fn a_window_past_midnight_belongs_to_the_day_on_which_it_begins() {
        let night = json!({
            "timeZone": "UTC", "exceptDates": ["2026-11-30"],
            "windows": [{"weekdays": ["Monday"], "from": "22:00", "to": "06:00"}],
        });
        for (moment, inside) in [
            ("2026-11-23T21:59:00Z", false),
            ("2026-11-23T22:00:00Z", true),
            ("2026-11-24T05:59:00Z", true),
            ("2026-11-24T06:00:00Z", false),
            ("2026-11-23T05:00:00Z", false),
            ("2026-11-30T23:00:00Z", false),
            ("2026-12-01T03:00:00Z", false),
        ] {
            assert_eq!(judge(&night, moment), Judgement::of(inside), "{moment}");
        }
        let whole = json!({
            "timeZone": "UTC", "exceptDates": [], "windows": [{"weekdays": [], "from": "00:00", "to": "24:00"}],
        });
        assert_eq!(judge(&whole, "2026-11-24T23:59:59Z"), Judgement::Holds);
    }

    #[test]
    fn every_day_of_the_week_is_itself_and_texts_come_back_as_they_were() {
        let days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
        for (number, day) in days.iter().enumerate() {
            let window = json!({
                "timeZone": "UTC", "exceptDates": [],
                "windows": [{"weekdays": [day], "from": "00:30", "to": "23:59"}],
            });
            for other in 0..7 {
                let moment = format!("2026-11-{}T12:00:00Z", 23 + other);
                assert_eq!(judge(&window, &moment), Judgement::of(number == other), "{day} {moment}");
            }
            assert_eq!(judge(&window, &format!("2026-11-{}T00:29:59Z", 23 + number)), Judgement::Fails);
            assert_eq!(judge(&window, &format!("2026-11-{}T00:30:00Z", 23 + number)), Judgement::Holds);
        }
        for text in ["00:00", "09:05", "23:59", "24:00"] {
            assert_eq!(String::from(TimeOfDay::try_from(text.to_owned()).unwrap()), text);
        }
        assert_eq!(String::from(Date::try_from("2026-02-28".to_owned()).unwrap()), "2026-02-28");
        let zone = TimeZoneName::try_from("Europe/Vienna".to_owned()).unwrap();
        assert_eq!((zone.to_string(), String::from(zone)), ("Europe/Vienna".to_owned(), "Europe/Vienna".to_owned()));
    }

    #[test]
    fn refuses_what_is_no_time_date_or_zone() {
        for text in ["8:00", "08:60", "24:01", "25:00", "08", "aa:bb", "+8:00", ""] {
            assert!(TimeOfDay::try_from(text.to_owned()).is_err(), "{text}");
        }
        for text in ["2026-02-30", "2026-1-1", "20260101", "2026-01-01T00:00", ""] {
            assert!(Date::try_from(text.to_owned()).is_err(), "{text}");
        }
        for text in ["Mars/Olympus", "../etc/passwd", ""] {
            assert!(TimeZoneName::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
