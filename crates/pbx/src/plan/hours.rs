//! When a time condition holds.

use jiff::civil::{Date, Weekday};
use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, ToSpan};

/// Minutes of a day.
const DAY_MINUTES: u16 = 24 * 60;

/// The time zone in which hours are meant.
#[derive(Clone, Debug)]
pub struct Zone(TimeZone);

impl Default for Zone {
    fn default() -> Zone {
        Zone(TimeZone::UTC)
    }
}

impl Zone {
    /// `Europe/Berlin`, `UTC`, or a difference as `+05:30`.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse(text: &str) -> Result<Zone, &'static str> {
        const WANTED: &str = "a zone as \"Europe/Berlin\", or a difference as \"+05:30\"";
        if let Some(west) = text.strip_prefix('-') {
            let seconds = minutes(west).ok_or(WANTED)? as i32 * -60;
            return fixed(seconds).ok_or(WANTED);
        }
        if let Some(east) = text.strip_prefix('+') {
            let seconds = minutes(east).ok_or(WANTED)? as i32 * 60;
            return fixed(seconds).ok_or(WANTED);
        }
        TimeZoneDatabase::bundled()
            .get(text)
            .map(Zone)
            .map_err(|_| WANTED)
    }

    /// The date and the minute of the day.
    fn civil(&self, unix_ms: u64) -> Option<(Date, u16)> {
        let stamp = Timestamp::from_millisecond(i64::try_from(unix_ms).ok()?).ok()?;
        let local = stamp.to_zoned(self.0.clone());
        let time = local.time();
        Some((local.date(), time.hour() as u16 * 60 + time.minute() as u16))
    }
}

fn fixed(seconds: i32) -> Option<Zone> {
    Some(Zone(TimeZone::fixed(Offset::from_seconds(seconds).ok()?)))
}

/// `09:30` as minutes; `24:00` is the day's end.
fn minutes(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    let hours: u16 = hours.parse().ok()?;
    let minutes: u16 = minutes.parse().ok()?;
    let all = hours * 60 + minutes;
    (minutes < 60 && all <= DAY_MINUTES).then_some(all)
}

/// Some hours of some days of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// A bit for each day, Monday the lowest.
    days: u8,
    from_minute: u16,
    /// Not included; less than `from_minute`: on the next day.
    to_minute: u16,
}

impl Span {
    /// `Mon-Fri 09:00-17:00`, `Sat,Sun 10:00-12:00`, `daily 22:00-06:00`.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse(text: &str) -> Result<Span, &'static str> {
        const WANTED: &str = "days and hours as \"Mon-Fri 09:00-17:00\"";
        let (day_text, hours) = text.trim().split_once(' ').ok_or(WANTED)?;
        let (from, to) = hours.trim().split_once('-').ok_or(WANTED)?;
        let (from_minute, to_minute) = (minutes(from).ok_or(WANTED)?, minutes(to).ok_or(WANTED)?);
        if from_minute == to_minute || from_minute == DAY_MINUTES {
            return Err(WANTED);
        }
        Ok(Span {
            days: days(day_text).ok_or(WANTED)?,
            from_minute,
            to_minute,
        })
    }

    fn holds(&self, weekday: Weekday, minute: u16) -> bool {
        let today = self.days >> weekday.to_monday_zero_offset() & 1 == 1;
        if self.from_minute < self.to_minute {
            return today && (self.from_minute..self.to_minute).contains(&minute);
        }
        let yesterday = self.days >> weekday.previous().to_monday_zero_offset() & 1 == 1;
        today && minute >= self.from_minute || yesterday && minute < self.to_minute
    }
}

fn days(text: &str) -> Option<u8> {
    if text.eq_ignore_ascii_case("daily") {
        return Some(0x7f);
    }
    let mut set = 0;
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut at, last) = (day(first)?, day(last)?);
        set |= 1 << at;
        while at != last {
            at = (at + 1) % 7;
            set |= 1 << at;
        }
    }
    Some(set)
}

fn day(text: &str) -> Option<u8> {
    ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
        .iter()
        .position(|name| text.eq_ignore_ascii_case(name))
        .map(|at| at as u8)
}

/// A day on which it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holiday {
    /// Every year, if absent.
    year: Option<i16>,
    month: i8,
    day: i8,
}

impl Holiday {
    /// `2026-12-24`, or `12-25` for every year.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse(text: &str) -> Result<Holiday, &'static str> {
        const WANTED: &str = "a day as \"2026-12-24\", or \"12-25\" for every year";
        let fields: Vec<&str> = text.split('-').collect();
        let (year, month, day) = match fields[..] {
            [year, month, day] if year.len() == 4 => {
                (Some(year.parse().map_err(|_| WANTED)?), month, day)
            }
            [month, day] => (None, month, day),
            _ => return Err(WANTED),
        };
        let holiday = Holiday {
            year,
            month: month.parse().map_err(|_| WANTED)?,
            day: day.parse().map_err(|_| WANTED)?,
        };
        // A leap year knows all days.
        Date::new(year.unwrap_or(2024), holiday.month, holiday.day).map_err(|_| WANTED)?;
        Ok(holiday)
    }

    fn is(&self, date: Date) -> bool {
        self.year.is_none_or(|year| year == date.year())
            && (self.month, self.day) == (date.month(), date.day())
    }
}

/// A time condition: open in some hours of the week, not on holidays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hours {
    /// When it is open.
    pub open: Vec<Span>,
    /// Days on which it is not.
    pub holidays: Vec<Holiday>,
}

impl Hours {
    /// Whether it is open.
    pub fn is_open(&self, zone: &Zone, unix_ms: u64) -> bool {
        let Some((date, minute)) = zone.civil(unix_ms) else {
            return false;
        };
        // The small hours belong to the day on which a span began.
        let began = |span: &Span| {
            if span.from_minute > span.to_minute && minute < span.to_minute {
                date.checked_sub(1.day()).unwrap_or(date)
            } else {
                date
            }
        };
        self.open.iter().any(|span| {
            span.holds(date.weekday(), minute)
                && !self.holidays.iter().any(|holiday| holiday.is(began(span)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-03-02, a Monday, at 00:00 UTC.
    const MONDAY: u64 = 1_772_409_600_000;
    const HOUR: u64 = 3_600_000;

    fn hours(open: &[&str], holidays: &[&str]) -> Hours {
        Hours {
            open: open.iter().map(|text| Span::parse(text).unwrap()).collect(),
            holidays: holidays
                .iter()
                .map(|text| Holiday::parse(text).unwrap())
                .collect(),
        }
    }

    #[test]
    fn an_office_is_open_in_its_hours() {
        let office = hours(&["Mon-Fri 09:00-17:00"], &[]);
        let utc = Zone::default();
        assert!(!office.is_open(&utc, MONDAY + 9 * HOUR - 1));
        assert!(office.is_open(&utc, MONDAY + 9 * HOUR));
        assert!(!office.is_open(&utc, MONDAY + 17 * HOUR));
        assert!(!office.is_open(&utc, MONDAY + 5 * 24 * HOUR + 12 * HOUR));
    }

    #[test]
    fn a_zone_moves_the_hours_with_its_summer_time() {
        let office = hours(&["Mon-Fri 09:00-17:00"], &[]);
        let berlin = Zone::parse("Europe/Berlin").unwrap();
        assert!(office.is_open(&berlin, MONDAY + 8 * HOUR));
        // Four weeks later summer time has begun.
        let summer = MONDAY + 28 * 24 * HOUR;
        assert!(office.is_open(&berlin, summer + 7 * HOUR));
        assert!(!office.is_open(&berlin, summer + 15 * HOUR));
        let india = Zone::parse("+05:30").unwrap();
        assert!(office.is_open(&india, MONDAY + 4 * HOUR));
        assert!(Zone::parse("Mars/Olympus").is_err());
        assert!(Zone::parse("+99:00").is_err());
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_began() {
        let night = hours(&["Mon 22:00-06:00"], &[]);
        let utc = Zone::default();
        assert!(!night.is_open(&utc, MONDAY + HOUR));
        assert!(night.is_open(&utc, MONDAY + 23 * HOUR));
        assert!(night.is_open(&utc, MONDAY + 29 * HOUR));
        let holiday = hours(&["Mon 22:00-06:00"], &["2026-03-02"]);
        assert!(!holiday.is_open(&utc, MONDAY + 29 * HOUR));
        assert!(!hours(&["daily 00:00-24:00"], &["03-02"]).is_open(&utc, MONDAY));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "Mon",
            "Mon 9:00-17:00",
            "Foo 09:00-10:00",
            "Mon 09:00-09:00",
            "Mon 25:00-26:00",
        ] {
            assert!(Span::parse(text).is_err(), "{text}");
        }
        for text in ["", "02-30", "2026-13-01", "2025-02-29", "1-2-3"] {
            assert!(Holiday::parse(text).is_err(), "{text}");
        }
        assert!(Holiday::parse("02-29").is_ok());
    }
}
