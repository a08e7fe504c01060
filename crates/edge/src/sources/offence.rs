//! What is held against a source.

/// Something that scanners and guessers do and phones hardly do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Offence {
    /// Credentials were wrong, and their nonce shows that the sender is where he says.
    Password,
    /// Credentials were wrong, with a nonce that was not given to this address.
    Credentials,
    /// Credentials were asked for; made up for when right ones come.
    #[default]
    Challenged,
    /// Somebody was asked for who is not there.
    UnknownUser,
    /// A message could not be read.
    Malformed,
    /// The edge was asked what it can.
    Options,
    /// A call to a foreign place from a foreigner.
    Relaying,
    /// A request over the rate of its source.
    Rate,
}

impl Offence {
    /// All of them.
    pub const ALL: [Offence; 8] = [
        Offence::Password,
        Offence::Credentials,
        Offence::Challenged,
        Offence::UnknownUser,
        Offence::Malformed,
        Offence::Options,
        Offence::Relaying,
        Offence::Rate,
    ];

    /// Its name in events and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Offence::Password => "password",
            Offence::Credentials => "credentials",
            Offence::Challenged => "challenged",
            Offence::UnknownUser => "unknown-user",
            Offence::Malformed => "malformed",
            Offence::Options => "options",
            Offence::Relaying => "relaying",
            Offence::Rate => "rate",
        }
    }

    /// What it weighs, in thousandths of points.
    pub(super) const fn points_thousandths(self) -> u32 {
        match self {
            Offence::Password => 10_000,
            Offence::Malformed | Offence::Relaying => 5_000,
            Offence::UnknownUser => 4_000,
            Offence::Credentials => 2_000,
            Offence::Challenged => 1_000,
            Offence::Options => 500,
            Offence::Rate => 100,
        }
    }
}
