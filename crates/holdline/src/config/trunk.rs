//! `[[pbx.trunk]]`: who we are to hosts that ask for credentials.

use super::Token;
use super::reader::Section;

/// A host that asks for credentials of those who call it.
#[derive(Debug, Clone, PartialEq)]
pub struct Trunk {
    /// The host, as `ring 0171@HOST` names it.
    pub host: String,
    /// The user name.
    pub user: String,
    /// The password.
    pub password: Token,
}

pub(super) fn trunks(pbx: &mut Section<'_>) -> Vec<Trunk> {
    pbx.tables("trunk").into_iter().filter_map(trunk).collect()
}

fn trunk(mut section: Section<'_>) -> Option<Trunk> {
    let mut part = |key: &'static str, wanted: &str| {
        let is_there = section.has(key);
        let found = section.text(key, "", wanted, |text| match text.is_empty() {
            true => Err("text".to_owned()),
            false => Ok(text.to_owned()),
        });
        if !is_there {
            section.contradiction(key, section.span(), "missing", format!("write {wanted}"));
        }
        found.map(|placed| placed.value)
    };
    let host = part("host", "the trunk's host: \"trunk.example\"");
    let user = part("user", "the user name that the trunk knows");
    let password = part("password", "the password");
    section.finish();
    Some(Trunk {
        host: host?,
        user: user?,
        password: Token::of(&password?),
    })
}
