//! "Did you mean …": the nearest of some known words to one that is not known.

/// Longer words are not compared: nobody mistypes them, and the cost is quadratic.
const LONGEST_WORD: usize = 64;

/// The candidate that `word` is most likely a misspelling of, if any is close enough.
///
/// Letter case does not matter. One slip (a letter missing, added, replaced, or two neighbours swapped) is
/// allowed for every three letters of the longer word, at least one; of equally near candidates the first wins.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = fold(word)?;
    let mut best: Option<(usize, &'a str)> = None;
    for candidate in candidates {
        let Some(folded) = fold(candidate) else {
            continue;
        };
        let longer = word.len().max(folded.len());
        // With a single letter every other single letter would be one slip away.
        if word.len().min(folded.len()) < 2 {
            continue;
        }
        let slips = distance(&word, &folded);
        if slips <= (longer / 3).max(1) && best.is_none_or(|(least, _)| slips < least) {
            best = Some((slips, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Advice naming the nearest candidate, or all of them if none is near.
pub(super) fn did_you_mean<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
) -> Option<String> {
    if let Some(near) = nearest(word, candidates.clone()) {
        return Some(format!("did you mean `{near}`?"));
    }
    let all: Vec<String> = candidates
        .into_iter()
        .map(|word| format!("`{word}`"))
        .collect();
    (!all.is_empty()).then(|| format!("known are {}", all.join(", ")))
}

fn fold(word: &str) -> Option<Vec<char>> {
    let folded: Vec<char> = word
        .chars()
        .flat_map(char::to_lowercase)
        .take(LONGEST_WORD + 1)
        .collect();
    (folded.len() <= LONGEST_WORD).then_some(folded)
}

/// Edit distance in which swapping two neighbouring letters counts once.
fn distance(a: &[char], b: &[char]) -> usize {
    // Rows i-2, i-1 and i of the usual table: cell j is the distance from a[..i] to b[..j].
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, &y) in b.iter().enumerate() {
            let mut cell = (above[j] + usize::from(x != y))
                .min(above[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && x == b[j - 1] && a[i - 1] == y {
                cell = cell.min(before[j - 1] + 1);
            }
            row.push(cell);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_nearest_word_within_reach() {
        let words = ["connector", "format", "path", "type", "rows_per_second"];
        for (word, near) in [
            ("conector", Some("connector")),
            ("CONNECTOR", Some("connector")),
            ("fromat", Some("format")),
            ("pth", Some("path")),
            ("typ", Some("type")),
            ("row_per_secnd", Some("rows_per_second")),
            ("schema", None),
            ("p", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, words), near, "{word}");
        }
        assert_eq!(nearest(&"x".repeat(10_000), words), None);
    }

    #[test]
    fn counts_slips() {
        for (a, b, slips) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("abc", "abd", 1),
            ("abc", "acb", 1),
            ("kitten", "sitting", 3),
        ] {
            let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
            assert_eq!(distance(&a, &b), slips);
            assert_eq!(distance(&b, &a), slips);
        }
    }
}
