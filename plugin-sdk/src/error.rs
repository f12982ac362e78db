//! The one error type of an operator: a text for a person, made from anything that went wrong.
//!
//! It crosses to the host as a string, so it keeps no types. Next room: [`crate::operator`].

use std::fmt;

/// Says why an operator cannot go on. The host undoes the whole batch, and shows the text with the operator's name.
///
/// Any [`std::error::Error`] becomes one with `?`, its causes included. House form: lowercase, no final dot, the
/// offending value in backticks, then what to do about it. For one bad record use [`crate::Output::reject`] instead.
///
/// ```
/// use tidegate_sdk::Error;
///
/// fn parse(text: &str) -> Result<u16, Error> {
///     let number: u16 = text.parse()?;
///     if number == 0 {
///         return Err(Error::new("`0` is no number of seats; write 1 or more"));
///     }
///     Ok(number)
/// }
/// assert_eq!(parse("x").unwrap_err().to_string(), "invalid digit found in string");
/// ```
pub struct Error {
    text: String,
}

impl Error {
    /// Makes an error from a text.
    ///
    /// ```
    /// let error = tidegate_sdk::Error::new("the rule table is empty");
    /// assert_eq!(error.to_string(), "the rule table is empty");
    /// ```
    pub fn new(text: impl Into<String>) -> Error {
        Error { text: text.into() }
    }

    /// Makes an error about a key of the operator's configuration. `key` is its path in the `config` table.
    ///
    /// ```
    /// let error = tidegate_sdk::Error::configuration("threshold", "`0` alerts on everything; write 1 or more");
    /// assert_eq!(error.to_string(), "configuration key `threshold`: `0` alerts on everything; write 1 or more");
    /// ```
    pub fn configuration(key: &str, what: impl fmt::Display) -> Error {
        Error { text: format!("configuration key `{key}`: {what}") }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

// `Error` itself is no `std::error::Error`: this conversion would then overlap with the one of `From<T> for T`.
impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Error {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        Error { text }
    }
}
