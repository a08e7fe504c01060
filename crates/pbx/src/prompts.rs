//! What is said to callers: English prompts that ship with the program, and numbers as lists of them.

mod list;

/// Longest number that is read as one; longer ones are read digit by digit.
const NUMBER_MAX: u64 = 999_999_999;

/// The sound of a prompt, Opus in Ogg, 16,000 samples a second, one channel.
pub fn find(name: &str) -> Option<&'static [u8]> {
    list::SOUNDS
        .binary_search_by_key(&name, |(name, _)| name)
        .ok()
        .map(|at| list::SOUNDS[at].1)
}

/// All names, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    list::SOUNDS.iter().map(|(name, _)| *name)
}

const SMALL: [&str; 21] = [
    "number/0",
    "number/1",
    "number/2",
    "number/3",
    "number/4",
    "number/5",
    "number/6",
    "number/7",
    "number/8",
    "number/9",
    "number/10",
    "number/11",
    "number/12",
    "number/13",
    "number/14",
    "number/15",
    "number/16",
    "number/17",
    "number/18",
    "number/19",
    "number/20",
];

const TENS: [&str; 8] = [
    "number/20",
    "number/30",
    "number/40",
    "number/50",
    "number/60",
    "number/70",
    "number/80",
    "number/90",
];

/// The prompts that read a number.
pub fn number(number: u64) -> Vec<&'static str> {
    if number > NUMBER_MAX {
        return digits(&number.to_string());
    }
    let mut names = Vec::new();
    below_billion(number, &mut names);
    names
}

fn below_billion(number: u64, names: &mut Vec<&'static str>) {
    let (unit, name) = match number {
        0..=20 => return names.push(SMALL[number as usize]),
        21..=99 => {
            names.push(TENS[(number / 10) as usize - 2]);
            if !number.is_multiple_of(10) {
                names.push(SMALL[(number % 10) as usize]);
            }
            return;
        }
        100..=999 => (100, "number/hundred"),
        1_000..=999_999 => (1_000, "number/thousand"),
        _ => (1_000_000, "number/million"),
    };
    below_billion(number / unit, names);
    names.push(name);
    if !number.is_multiple_of(unit) {
        below_billion(number % unit, names);
    }
}

/// The prompts that read digits one by one; what has no prompt is left out.
pub fn digits(digits: &str) -> Vec<&'static str> {
    let name = |c: char| match c {
        '0'..='9' => Some(SMALL[c as usize - '0' as usize]),
        '*' => Some("digit/star"),
        '#' => Some("digit/hash"),
        '+' => Some("digit/plus"),
        _ => None,
    };
    digits.chars().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_people_do() {
        let read = |n| number(n).join(" ").replace("number/", "");
        for (n, words) in [
            (0, "0"),
            (20, "20"),
            (21, "20 1"),
            (90, "90"),
            (100, "1 hundred"),
            (342, "3 hundred 40 2"),
            (1_007, "1 thousand 7"),
            (12_300, "12 thousand 3 hundred"),
            (1_000_001, "1 million 1"),
            (1_234_567_890, "1 2 3 4 5 6 7 8 9 0"),
        ] {
            assert_eq!(read(n), words);
        }
        assert_eq!(digits("+1*#x").len(), 4);
    }

    #[test]
    fn every_prompt_has_a_text_and_a_sound_that_is_heard() {
        let texts = include_str!("../prompts/texts.txt");
        let mut written: Vec<&str> = texts
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| Some(line.split_once('=')?.0.trim()))
            .chain(["music/default"])
            .collect();
        written.sort_unstable();
        assert_eq!(names().collect::<Vec<_>>(), written);
        let all: usize = list::SOUNDS.iter().map(|(_, sound)| sound.len()).sum();
        assert!(all < 1_500_000, "{all} bytes");
        for name in names() {
            let file = find(name).unwrap();
            assert!(file.starts_with(b"OggS"), "{name}");
            assert!(file.len() > 700, "{name}");
        }
        // Decoding all of them takes long where libopus is not optimized.
        for name in ["welcome", "number/7", "voicemail/saved", "goodbye"] {
            let file = find(name).unwrap().to_vec();
            let rate = audio::SampleRate::Hz16000;
            let sound = audio::upload::decode(file, rate, 60).unwrap();
            let ms = sound.len() / 16;
            assert!((150..4_000).contains(&ms), "{name} takes {ms} ms");
            assert!(sound.iter().any(|sample| *sample > 2_000), "{name}");
        }
    }

    #[test]
    fn every_prompt_that_applications_say_is_there() {
        let sources = [
            include_str!("app/end.rs"),
            include_str!("app/mailbox.rs"),
            include_str!("app/menu.rs"),
            include_str!("app/park.rs"),
            include_str!("app/pin.rs"),
            include_str!("app/queue.rs"),
            include_str!("app/ring.rs"),
            include_str!("app/room.rs"),
            include_str!("app/steps.rs"),
            include_str!("app/talk.rs"),
            include_str!("app/voicemail.rs"),
            include_str!("plan/read.rs"),
        ];
        let mut found = 0;
        for text in sources
            .iter()
            .flat_map(|source| source.split('"').skip(1).step_by(2))
        {
            let is_prompt = text.split_once('/').is_some_and(|(folder, name)| {
                let is_word = |text: &str| {
                    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
                };
                is_word(folder) && is_word(name)
            });
            if is_prompt || ["sorry", "goodbye"].contains(&text) {
                assert!(find(text).is_some(), "{text}");
                found += 1;
            }
        }
        assert!(found > 40);
    }
}
