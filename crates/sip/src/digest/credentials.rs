//! Reading the value of an Authorization or Proxy-Authorization header in place.

use std::borrow::Cow;
use std::fmt;

use super::algorithm::{Algorithm, HashValue, hex_digit};
use super::scanner::Scanner;

/// The most parameters that one header value may have; clients send about ten.
pub const PARAMETERS_MAX: usize = 32;

/// The parameters that mean something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// `username`
    Username,
    /// `realm`
    Realm,
    /// `nonce`
    Nonce,
    /// `uri`
    Uri,
    /// `response`
    Response,
    /// `algorithm`
    Algorithm,
    /// `cnonce`
    Cnonce,
    /// `opaque`
    Opaque,
    /// `qop`
    Qop,
    /// `nc`
    NonceCount,
    /// `userhash` (RFC 7616 section 3.4.4)
    Userhash,
    /// `username*` (RFC 7616 section 3.4)
    UsernameExtended,
}

impl Parameter {
    /// How many there are.
    const COUNT: usize = Parameter::UsernameExtended as usize + 1;

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Parameter::Username => "username",
            Parameter::Realm => "realm",
            Parameter::Nonce => "nonce",
            Parameter::Uri => "uri",
            Parameter::Response => "response",
            Parameter::Algorithm => "algorithm",
            Parameter::Cnonce => "cnonce",
            Parameter::Opaque => "opaque",
            Parameter::Qop => "qop",
            Parameter::NonceCount => "nc",
            Parameter::Userhash => "userhash",
            Parameter::UsernameExtended => "username*",
        }
    }

    /// The length leaves at most three names to compare with.
    fn parse(name: &[u8]) -> Option<Parameter> {
        let candidates: &[Parameter] = match name.len() {
            2 => &[Parameter::NonceCount],
            3 => &[Parameter::Uri, Parameter::Qop],
            5 => &[Parameter::Nonce, Parameter::Realm],
            6 => &[Parameter::Cnonce, Parameter::Opaque],
            8 => &[
                Parameter::Username,
                Parameter::Response,
                Parameter::Userhash,
            ],
            9 => &[Parameter::Algorithm, Parameter::UsernameExtended],
            _ => return None,
        };
        candidates
            .iter()
            .copied()
            .find(|parameter| name.eq_ignore_ascii_case(parameter.name().as_bytes()))
    }
}

/// Why a header value is not credentials that can be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialsError {
    /// The scheme is not Digest. RFC 3261 section 22 knows no other.
    NotDigest,
    /// The grammar is broken at this byte of the value.
    Syntax {
        /// Offset in bytes.
        at: usize,
    },
    /// There are more parameters than [`PARAMETERS_MAX`].
    TooManyParameters,
    /// A mandatory parameter is not there (`nc` and `cnonce` are so with `qop`).
    Missing(Parameter),
    /// A parameter is there twice.
    Duplicate(Parameter),
    /// A parameter's value is outside its grammar.
    Value(Parameter),
    /// A parameter asks for something that is left out here: an unknown or `-sess` algorithm,
    /// `auth-int`, a hashed or extended username.
    Unsupported(Parameter),
}

impl CredentialsError {
    /// True if the peer did nothing wrong but ask for what is not offered: a challenge is
    /// the answer. Otherwise the request is malformed and 400 is.
    #[must_use]
    pub const fn is_unsupported(self) -> bool {
        matches!(
            self,
            CredentialsError::NotDigest | CredentialsError::Unsupported(_)
        )
    }
}

/// A parameter's value in the message, without its quotes.
#[derive(Clone, Copy)]
pub struct ParameterValue<'a> {
    pub(super) sent: &'a [u8],
    /// There are escapes or folds in it.
    pub(super) is_escaped: bool,
}

impl<'a> ParameterValue<'a> {
    /// The bytes between the quotes, escapes kept. The response is computed over this form
    /// (RFC 7616 section 3.3: `unq` takes away the quotes and no more).
    #[must_use]
    pub const fn as_sent(&self) -> &'a [u8] {
        self.sent
    }

    /// The meaning: escapes resolved, folds turned into a space. Allocates only if there are any.
    #[must_use]
    pub fn unescaped(&self) -> Cow<'a, [u8]> {
        if self.is_escaped {
            Cow::Owned(Unescape { rest: self.sent }.collect())
        } else {
            Cow::Borrowed(self.sent)
        }
    }

    /// Whether the unescaped value is this, compared byte for byte without allocating.
    #[must_use]
    pub fn is(&self, plain: &[u8]) -> bool {
        if self.is_escaped {
            Unescape { rest: self.sent }.eq(plain.iter().copied())
        } else {
            self.sent == plain
        }
    }
}

impl fmt::Debug for ParameterValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ParameterValue({} bytes)", self.sent.len())
    }
}

/// The unescaped bytes of a quoted string that the scanner has found sound.
struct Unescape<'a> {
    rest: &'a [u8],
}

impl Iterator for Unescape<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let (byte, length) = match *self.rest {
            [] => return None,
            [b'\\', escaped, ..] => (escaped, 2),
            [b'\r', b'\n', ..] => (b' ', fold_length(self.rest)),
            [byte, ..] => (byte, 1),
        };
        self.rest = self.rest.get(length..).unwrap_or_default();
        Some(byte)
    }
}

/// The length of the line end and the white space after it, at which `text` begins.
fn fold_length(text: &[u8]) -> usize {
    2 + text
        .iter()
        .skip(2)
        .take_while(|byte| matches!(byte, b' ' | b'\t'))
        .count()
}

/// Digest credentials, sound in grammar and complete, over the bytes of a message.
///
/// That says nothing of whether they are right. `Debug` shows no user data.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    username: ParameterValue<'a>,
    realm: ParameterValue<'a>,
    nonce: ParameterValue<'a>,
    uri: ParameterValue<'a>,
    response: HashValue,
    algorithm: Algorithm,
    cnonce: Option<ParameterValue<'a>>,
    opaque: Option<ParameterValue<'a>>,
    counted: Option<Counted<'a>>,
}

/// What comes with `qop=auth`.
#[derive(Clone, Copy)]
struct Counted<'a> {
    qop: &'a [u8],
    nc: u32,
    nc_text: &'a [u8],
    cnonce: &'a [u8],
}

impl<'a> Credentials<'a> {
    /// Reads a header value (all after the colon, folds included).
    ///
    /// Lenient where clients are known to stray and no harm comes of it: quotes around
    /// `qop`, `nc` and `algorithm` or none around the others, empty list elements, upper-case
    /// hexadecimal. A client sends a header line for each realm it knows; which one counts
    /// is for the caller to choose by [`Credentials::realm`].
    ///
    /// # Errors
    ///
    /// See [`CredentialsError`].
    pub fn parse(value: &'a [u8]) -> Result<Credentials<'a>, CredentialsError> {
        let mut scan = Scanner::new(value);
        if !scan.skip_digest() {
            return Err(CredentialsError::NotDigest);
        }
        let mut fields = Fields::default();
        let mut parameter_count = 0;
        loop {
            scan.skip_separators();
            if scan.is_at_end() {
                return fields.finish();
            }
            parameter_count += 1;
            if parameter_count > PARAMETERS_MAX {
                return Err(CredentialsError::TooManyParameters);
            }
            let name = scan.token()?;
            scan.equal()?;
            let value = scan.value()?;
            if let Some(parameter) = Parameter::parse(name) {
                fields.insert(parameter, value)?;
            }
            scan.end_of_element()?;
        }
    }

    /// The user's name; lookups want it unescaped.
    #[must_use]
    pub const fn username(&self) -> ParameterValue<'a> {
        self.username
    }

    /// The realm of the challenge that is answered.
    #[must_use]
    pub const fn realm(&self) -> ParameterValue<'a> {
        self.realm
    }

    /// The nonce of the challenge that is answered.
    #[must_use]
    pub const fn nonce(&self) -> ParameterValue<'a> {
        self.nonce
    }

    /// The Request-URI as the client sent it, which may not be that which arrived.
    #[must_use]
    pub const fn uri(&self) -> ParameterValue<'a> {
        self.uri
    }

    /// The response.
    #[must_use]
    pub const fn response(&self) -> &HashValue {
        &self.response
    }

    /// The algorithm; MD5 if none is named (RFC 7616 section 3.4).
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The client's nonce.
    #[must_use]
    pub const fn cnonce(&self) -> Option<ParameterValue<'a>> {
        self.cnonce
    }

    /// The challenge's opaque text, sent back.
    #[must_use]
    pub const fn opaque(&self) -> Option<ParameterValue<'a>> {
        self.opaque
    }

    /// The quality of protection as sent: `auth` in any case, or none by RFC 2069.
    #[must_use]
    pub const fn qop(&self) -> Option<&'a [u8]> {
        match &self.counted {
            Some(counted) => Some(counted.qop),
            None => None,
        }
    }

    /// The nonce count, at least 1; there with `qop` only.
    #[must_use]
    pub const fn nc(&self) -> Option<u32> {
        match &self.counted {
            Some(counted) => Some(counted.nc),
            None => None,
        }
    }

    /// `nc`, `cnonce` and `qop` as the response is computed over them.
    pub(super) fn protection(&self) -> Option<(&'a [u8], &'a [u8], &'a [u8])> {
        self.counted
            .map(|counted| (counted.nc_text, counted.cnonce, counted.qop))
    }
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("algorithm", &self.algorithm)
            .field("nc", &self.nc())
            .finish_non_exhaustive()
    }
}

/// Whether a header value has the scheme Digest, in any case; nothing after it is read.
#[must_use]
pub fn scheme_is_digest(value: &[u8]) -> bool {
    Scanner::new(value).skip_digest()
}

/// The known parameters as they come, by their place in [`Parameter`].
#[derive(Default)]
struct Fields<'a> {
    values: [Option<ParameterValue<'a>>; Parameter::COUNT],
}

impl<'a> Fields<'a> {
    fn insert(
        &mut self,
        parameter: Parameter,
        value: ParameterValue<'a>,
    ) -> Result<(), CredentialsError> {
        match self.values[parameter as usize].replace(value) {
            Some(_) => Err(CredentialsError::Duplicate(parameter)),
            None => Ok(()),
        }
    }

    fn optional(&self, parameter: Parameter) -> Option<ParameterValue<'a>> {
        self.values[parameter as usize]
    }

    fn mandatory(&self, parameter: Parameter) -> Result<ParameterValue<'a>, CredentialsError> {
        self.optional(parameter)
            .ok_or(CredentialsError::Missing(parameter))
    }

    fn finish(&self) -> Result<Credentials<'a>, CredentialsError> {
        self.refuse_other_usernames()?;
        let algorithm = match self.optional(Parameter::Algorithm) {
            None => Algorithm::Md5,
            Some(name) => Algorithm::parse(name.sent)
                .ok_or(CredentialsError::Unsupported(Parameter::Algorithm))?,
        };
        let username = self.mandatory(Parameter::Username)?;
        let realm = self.mandatory(Parameter::Realm)?;
        let nonce = self.mandatory(Parameter::Nonce)?;
        let uri = self.mandatory(Parameter::Uri)?;
        let response = self.mandatory(Parameter::Response)?;
        let response = HashValue::from_hex(algorithm, response.sent)
            .ok_or(CredentialsError::Value(Parameter::Response))?;
        Ok(Credentials {
            username,
            realm,
            nonce,
            uri,
            response,
            algorithm,
            cnonce: self.optional(Parameter::Cnonce),
            opaque: self.optional(Parameter::Opaque),
            counted: self.counted()?,
        })
    }

    /// RFC 7616 section 3.4.4: `userhash=false` is what is assumed anyway.
    fn refuse_other_usernames(&self) -> Result<(), CredentialsError> {
        if self.optional(Parameter::UsernameExtended).is_some() {
            return Err(CredentialsError::Unsupported(Parameter::UsernameExtended));
        }
        match self.optional(Parameter::Userhash) {
            Some(value) if !value.sent.eq_ignore_ascii_case(b"false") => {
                Err(CredentialsError::Unsupported(Parameter::Userhash))
            }
            _ => Ok(()),
        }
    }

    /// RFC 7616 section 3.4: with `qop`, `nc` and `cnonce` must be there. Without it they must
    /// not, but some clients send them all the same, and then they count for nothing.
    fn counted(&self) -> Result<Option<Counted<'a>>, CredentialsError> {
        let Some(qop) = self.optional(Parameter::Qop) else {
            return Ok(None);
        };
        if !qop.sent.eq_ignore_ascii_case(b"auth") {
            return Err(CredentialsError::Unsupported(Parameter::Qop));
        }
        let nc_text = self.mandatory(Parameter::NonceCount)?.sent;
        let cnonce = self.mandatory(Parameter::Cnonce)?.sent;
        let nc =
            parse_nonce_count(nc_text).ok_or(CredentialsError::Value(Parameter::NonceCount))?;
        Ok(Some(Counted {
            qop: qop.sent,
            nc,
            nc_text,
            cnonce,
        }))
    }
}

/// Eight hexadecimal digits, counted from 1.
fn parse_nonce_count(text: &[u8]) -> Option<u32> {
    if text.len() != 8 {
        return None;
    }
    let count = text.iter().try_fold(0u32, |count, &digit| {
        Some(count << 4 | u32::from(hex_digit(digit)?))
    })?;
    (count > 0).then_some(count)
}
