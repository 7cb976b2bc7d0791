//! The 22 TPC-H queries with the specification's validation parameters, in DataFusion's dialect.

use std::borrow::Cow;

/// Query 11's FRACTION at scale factor 1, as its text writes it.
const Q11_FRACTION: &str = "0.0001000000";

const QUERIES: [(&str, &str); 22] = [
    ("q01", include_str!("queries/q01.sql")),
    ("q02", include_str!("queries/q02.sql")),
    ("q03", include_str!("queries/q03.sql")),
    ("q04", include_str!("queries/q04.sql")),
    ("q05", include_str!("queries/q05.sql")),
    ("q06", include_str!("queries/q06.sql")),
    ("q07", include_str!("queries/q07.sql")),
    ("q08", include_str!("queries/q08.sql")),
    ("q09", include_str!("queries/q09.sql")),
    ("q10", include_str!("queries/q10.sql")),
    ("q11", include_str!("queries/q11.sql")),
    ("q12", include_str!("queries/q12.sql")),
    ("q13", include_str!("queries/q13.sql")),
    ("q14", include_str!("queries/q14.sql")),
    ("q15", include_str!("queries/q15.sql")),
    ("q16", include_str!("queries/q16.sql")),
    ("q17", include_str!("queries/q17.sql")),
    ("q18", include_str!("queries/q18.sql")),
    ("q19", include_str!("queries/q19.sql")),
    ("q20", include_str!("queries/q20.sql")),
    ("q21", include_str!("queries/q21.sql")),
    ("q22", include_str!("queries/q22.sql")),
];

/// The queries by name, `q01` to `q22`, with the parameters of scale factor 1.
///
/// They run at every scale; only Q11 has a parameter that the specification ties to the scale, see
/// [`queries_at`].
pub fn queries() -> [(&'static str, &'static str); 22] {
    QUERIES
}

/// The queries by name with the parameters of scale factor `scale`.
pub fn queries_at(scale: f64) -> [(&'static str, Cow<'static, str>); 22] {
    QUERIES.map(|(name, text)| {
        if text.contains(Q11_FRACTION) {
            let fraction = format!("{:.10}", 0.0001 / scale);
            (name, Cow::Owned(text.replace(Q11_FRACTION, &fraction)))
        } else {
            (name, Cow::Borrowed(text))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_query_11_depends_on_the_scale() {
        let differing = |scale: f64| -> Vec<&str> {
            let at = queries_at(scale);
            let pairs = queries().into_iter().zip(at);
            pairs
                .filter(|((_, one), (_, at))| one != at)
                .map(|((name, _), _)| name)
                .collect()
        };
        assert!(differing(1.0).is_empty());
        assert_eq!(differing(0.01), ["q11"]);
        assert!(queries_at(0.01)[10].1.contains("* 0.0100000000"));
        assert!(queries_at(30.0)[10].1.contains("* 0.0000033333"));
    }
}
