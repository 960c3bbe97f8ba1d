//! What is wrong with an expression.

use std::fmt;

/// One mistake: where it is, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Byte of the text.
    pub offset: usize,
    /// Both from 1; columns count characters.
    pub line: usize,
    pub column: usize,
    pub message: String,
}

impl Error {
    pub(super) fn new(text: &str, offset: usize, message: String) -> Self {
        let before = &text[..offset];
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self { offset, line: before.matches('\n').count() + 1, column: before[start..].chars().count() + 1, message }
    }
}

/// `1:8: there is no field "verdit"; did you mean verdict?`
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

/// All mistakes, in the order of the text; there is at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errors(pub Vec<Error>);

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if i > 0 { "\n" } else { "" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}
