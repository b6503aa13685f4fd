//! Command lines of the form `key=value key=value`.

use std::io;

/// The arguments of a program, in the order given.
#[derive(Debug)]
pub struct Args(Vec<(String, String)>);

impl Args {
    /// Reads the arguments of this process; anything that is not `key=value` is an error.
    pub fn from_process() -> io::Result<Self> {
        let pair = |arg: String| match arg.split_once('=') {
            Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
            None => Err(io::Error::other(format!("`{arg}` is not key=value"))),
        };
        std::env::args().skip(1).map(pair).collect::<io::Result<Vec<_>>>().map(Self)
    }

    /// The last value given for `key`.
    pub fn get<'a>(&'a self, key: &'a str) -> Option<&'a str> {
        self.all(key).last()
    }

    /// Every value given for `key`.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The number given for `key`, or `default`.
    pub fn number(&self, key: &str, default: f64) -> io::Result<f64> {
        let Some(value) = self.get(key) else { return Ok(default) };
        match value.parse::<f64>() {
            Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
            _ => Err(io::Error::other(format!("`{key}={value}` is not a number"))),
        }
    }
}
