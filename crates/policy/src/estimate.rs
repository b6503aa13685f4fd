//! Token counts where the provider gave none.

/// Characters that a token is taken for.
pub const CHARACTERS: u64 = 4;

/// Databricks' documented stand-in for a missing count: `(text length + 1) / 4`, in characters.
pub const fn tokens(characters: u64) -> u64 {
    characters.div_ceil(CHARACTERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_text_is_some_token() {
        assert_eq!((tokens(0), tokens(1), tokens(4), tokens(5)), (0, 1, 1, 2));
    }
}
