//! The terminal: frames out, keys in.

use std::io::{self, Stdout, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::style::{Attribute, Color, ResetColor, SetAttribute, SetForegroundColor};
use crossterm::terminal::{
    self, BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen,
    LeaveAlternateScreen,
};
use crossterm::{cursor, queue};

use super::view::{Line, Style};

/// What was typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Up,
    Down,
    Letter(char),
    /// Ctrl-C.
    Interrupt,
    /// Not typed: the terminal has another size.
    Resized,
}

/// Whether the terminal is taken, and has to be given back.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal, which is as it was again when this is dropped, or its thread panics.
pub(super) struct Screen {
    out: Stdout,
    has_colours: bool,
    is_utf8: bool,
}

impl Screen {
    /// Takes the terminal. Colours are left out where NO_COLOR is set, and what is not ASCII where the locale says so.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn open() -> io::Result<Screen> {
        terminal::enable_raw_mode()?;
        TAKEN.store(true, Ordering::SeqCst);
        let has_colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let mut screen = Screen {
            out: io::stdout(),
            has_colours,
            is_utf8: is_utf8(|name| std::env::var(name).ok()),
        };
        // What a panic says is to be read afterwards.
        let (own, told) = (std::thread::current().id(), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |panic| {
            if std::thread::current().id() == own {
                give_back(&mut io::stdout());
            }
            told(panic);
        }));
        queue!(
            screen.out,
            EnterAlternateScreen,
            cursor::Hide,
            Clear(ClearType::All)
        )?;
        screen.out.flush()?;
        Ok(screen)
    }

    /// Columns and rows.
    pub(super) fn size(&self) -> (usize, usize) {
        let (columns, rows) = terminal::size().unwrap_or((80, 24));
        (usize::from(columns), usize::from(rows))
    }

    /// Shows the lines in place of those before.
    pub(super) fn draw(&mut self, lines: &[Line]) -> io::Result<()> {
        queue!(self.out, BeginSynchronizedUpdate)?;
        for (row, line) in lines.iter().enumerate() {
            queue!(
                self.out,
                cursor::MoveTo(0, u16::try_from(row).unwrap_or(u16::MAX))
            )?;
            for (style, text) in &line.0 {
                self.style(*style)?;
                match self.is_utf8 {
                    true => self.out.write_all(text.as_bytes())?,
                    false => self.out.write_all(ascii(text).as_bytes())?,
                }
                queue!(self.out, SetAttribute(Attribute::Reset), ResetColor)?;
            }
            queue!(self.out, Clear(ClearType::UntilNewLine))?;
        }
        queue!(self.out, EndSynchronizedUpdate)?;
        self.out.flush()
    }

    fn style(&mut self, style: Style) -> io::Result<()> {
        let (attribute, colour) = match style {
            Style::Plain => (None, None),
            Style::Dim => (Some(Attribute::Dim), None),
            Style::Bold => (Some(Attribute::Bold), None),
            Style::Good => (None, Some(Color::Green)),
            Style::Warning => (None, Some(Color::Yellow)),
            Style::Bad => (Some(Attribute::Bold), Some(Color::Red)),
            Style::Selected => (Some(Attribute::Reverse), None),
        };
        if let Some(attribute) = attribute {
            queue!(self.out, SetAttribute(attribute))?;
        }
        if let Some(colour) = colour.filter(|_| self.has_colours) {
            queue!(self.out, SetForegroundColor(colour))?;
        }
        Ok(())
    }

    /// What is typed within this time.
    pub(super) fn key(&mut self, within: Duration) -> io::Result<Option<Key>> {
        if !event::poll(within)? {
            return Ok(None);
        }
        let key = match event::read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => key,
            Event::Resize(..) => {
                queue!(self.out, Clear(ClearType::All))?;
                return Ok(Some(Key::Resized));
            }
            _ => return Ok(None),
        };
        Ok(match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                Some(Key::Interrupt)
            }
            KeyCode::Char(letter) => Some(Key::Letter(letter)),
            KeyCode::Up | KeyCode::BackTab => Some(Key::Up),
            KeyCode::Down | KeyCode::Tab => Some(Key::Down),
            _ => None,
        })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back(&mut self.out);
    }
}

fn give_back(out: &mut Stdout) {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // A terminal that is gone needs no repair.
        let _ = queue!(out, LeaveAlternateScreen, cursor::Show);
        let _ = out.flush();
        let _ = terminal::disable_raw_mode();
    }
}

/// Whether the terminal shows UTF-8, by the locale. Where none is set it most likely does.
fn is_utf8(variable: impl Fn(&str) -> Option<String>) -> bool {
    let set = |name: &&str| variable(name).filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(set);
    locale.is_none_or(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

/// The same in as many characters, for terminals that have no others.
fn ascii(text: &str) -> String {
    let sign = |sign: char| match sign {
        '─' => '-',
        '↑' => '^',
        '↓' => 'v',
        'µ' => 'u',
        sign if sign.is_ascii() => sign,
        _ => '?',
    };
    text.chars().map(sign).collect()
}

#[cfg(test)]
#[path = "screen_tests.rs"]
mod tests;
