//! The server's version, and what it decides.

use std::fmt;

use crate::{Error, Result};

/// The oldest Spark that speaks the parts of the protocol this crate rests on (reattachable execution).
const OLDEST: (u32, u32) = (3, 5);

/// A server's version, such as 4.2.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SparkVersion {
    text: String,
    major: u32,
    minor: u32,
}

impl SparkVersion {
    /// Parses the version that a server reports; vendors append text to it.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
            return Err(unsupported(text));
        };
        if (major, minor) < OLDEST {
            return Err(unsupported(text));
        }
        Ok(Self { text: text.to_owned(), major, minor })
    }

    /// Returns whether the server runs this version or a later one.
    pub fn at_least(&self, major: u32, minor: u32) -> bool {
        (self.major, self.minor) >= (major, minor)
    }

    /// Refuses `what` on a server older than `major.minor`.
    ///
    /// # Errors
    /// [`Error::Unsupported`], naming the versions.
    pub fn require(&self, what: &str, major: u32, minor: u32) -> Result<()> {
        if self.at_least(major, minor) {
            return Ok(());
        }
        Err(Error::Unsupported {
            what: what.to_owned(),
            needs: format!("{major}.{minor} or later"),
            version: self.text.clone(),
        })
    }
}

fn unsupported(text: &str) -> Error {
    let (major, minor) = OLDEST;
    Error::Unsupported {
        what: "tinderbox".into(),
        needs: format!("{major}.{minor} or later"),
        version: text.to_owned(),
    }
}

impl fmt::Display for SparkVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_with_whatever_a_vendor_appends() {
        for text in ["4.2.1", "4.2.0-SNAPSHOT", "4.2", "4.2.x-scala2.13"] {
            let version = SparkVersion::parse(text).unwrap();
            assert!(version.at_least(4, 2) && version.at_least(3, 9) && !version.at_least(4, 3), "{text}");
            assert_eq!(version.to_string(), text);
        }
    }

    #[test]
    fn what_is_too_old_or_no_version_is_refused() {
        for text in ["3.4.1", "2.4", "", "latest", "4"] {
            let error = SparkVersion::parse(text).unwrap_err().to_string();
            assert!(error.contains("3.5 or later") && error.contains(text), "{error}");
        }
        let error = SparkVersion::parse("4.0.1").unwrap().require("chunked results", 4, 1).unwrap_err();
        assert_eq!(error.to_string(), "chunked results needs Spark 4.1 or later; the server runs 4.0.1");
    }
}
