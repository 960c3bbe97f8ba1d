//! The known word that a user probably meant.

/// The candidate nearest to `word`, if it is near enough to be a slip: one edit for each three characters, at least one.
/// Case, and `_` against `-`, count nothing. The first of equals wins.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = fold(word);
    let limit = (word.len() / 3).max(1);
    let near = |candidate: &'a str| (distance(&word, &fold(candidate)), candidate);
    let best = candidates.into_iter().map(near).min_by_key(|(distance, _)| *distance)?;
    (best.0 <= limit).then_some(best.1)
}

fn fold(word: &str) -> Vec<char> {
    word.chars().flat_map(char::to_lowercase).map(|c| if c == '-' { '_' } else { c }).collect()
}

/// Edits between two words; two swapped neighbours are one edit.
fn distance(a: &[char], b: &[char]) -> usize {
    // Three rows of the table: the one before last is needed for swaps.
    let mut before_last = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let substituted = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = substituted.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_other_words_are_not() {
        let known = ["timeout", "hosts", "name", "namespace", "max_size"];
        for (word, expected) in [
            ("timeot", Some("timeout")),
            ("tiemout", Some("timeout")),
            ("Hosts", Some("hosts")),
            ("host", Some("hosts")),
            ("max-size", Some("max_size")),
            ("maxSize", Some("max_size")),
            ("nmae", Some("name")),
            ("colour", None),
            ("x", None),
        ] {
            assert_eq!(nearest(word, known), expected, "{word}");
        }
    }
}
