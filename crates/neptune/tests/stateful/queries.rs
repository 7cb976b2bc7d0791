//! The queries that are run as streams and as batch jobs, over the streams `a` and `b`, the file `dim` and the shared table `model`.

/// A query that a stream in append mode answers as a batch job does.
pub(crate) const APPEND: &[(&str, &str)] = &[
    (
        "all aggregates of a tumbling window",
        "SELECT tumble(INTERVAL '1 minute') AS w, k, count(*) AS n, sum(v) AS s, min(v) AS lo, max(v) AS hi, avg(v) AS mean, \
         count(DISTINCT v) AS different, array_agg(id ORDER BY id) AS ids, count(*) FILTER (WHERE v > 5) AS big, \
         min(k) AS least, string_agg(k, '-' ORDER BY id) AS names \
         FROM a GROUP BY 1, k",
    ),
    (
        "hopping windows with a filter",
        "SELECT hop(INTERVAL '20 seconds', INTERVAL '1 minute') AS w, v, count(*) AS n, count(k) AS with_k FROM a \
         WHERE v IS DISTINCT FROM 3 GROUP BY 1, v",
    ),
    (
        "hops that do not divide the width",
        "SELECT hop(INTERVAL '25 seconds', INTERVAL '40 seconds') AS w, sum(v) AS s FROM a GROUP BY 1",
    ),
    (
        "the table form",
        "SELECT window_start, window_end, k, count(*) AS n FROM TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '30 seconds') \
         GROUP BY window_start, window_end, k",
    ),
    (
        "windows of windows",
        "SELECT tumble(window_time(w), INTERVAL '3 minutes') AS wide, max(n) AS most, count(*) AS windows \
         FROM (SELECT tumble(INTERVAL '1 minute') AS w, k, count(*) AS n FROM a GROUP BY 1, k) AS each GROUP BY 1",
    ),
    (
        "an outer window of the start of an inner one",
        "SELECT date_trunc('minute', start) AS minute, max(n) AS most FROM \
         (SELECT window_start AS start, window_end, count(*) AS n \
          FROM TUMBLE(TABLE a, DESCRIPTOR(ts), INTERVAL '20 seconds') GROUP BY window_start, window_end) AS each GROUP BY 1",
    ),
    (
        "the narrower of two windows once more",
        "SELECT narrow, count(*) AS groups, sum(n) AS n FROM \
         (SELECT tumble(ts, INTERVAL '2 minutes') AS wide, tumble(ts, INTERVAL '20 seconds') AS narrow, k, count(*) AS n \
          FROM a GROUP BY 1, 2, k) AS each GROUP BY narrow",
    ),
    (
        "the wider of two windows once more",
        "SELECT wide, count(*) AS groups, sum(n) AS n FROM \
         (SELECT tumble(ts, INTERVAL '2 minutes') AS wide, tumble(ts, INTERVAL '20 seconds') AS narrow, k, count(*) AS n \
          FROM a GROUP BY 1, 2, k) AS each GROUP BY wide",
    ),
    ("distinct by time", "SELECT DISTINCT ts, k FROM a"),
    ("distinct without time", "SELECT DISTINCT k, v FROM a"),
    (
        "distinct below a window",
        "SELECT tumble(ts, INTERVAL '1 minute') AS w, count(*) AS n FROM (SELECT DISTINCT ts, k FROM a) AS d GROUP BY 1",
    ),
    (
        "date_bin",
        "SELECT date_bin(INTERVAL '45 seconds', ts) AS t, k, count(*) AS n FROM a GROUP BY 1, k",
    ),
    (
        "date_trunc",
        "SELECT date_trunc('minute', ts) AS t, sum(v) AS s FROM a GROUP BY 1",
    ),
    (
        "the time itself",
        "SELECT ts, count(*) AS n FROM a GROUP BY ts",
    ),
    (
        "days",
        "SELECT CAST(ts AS DATE) AS day, k, count(*) AS n FROM a GROUP BY 1, k",
    ),
    (
        "whole seconds",
        "SELECT CAST(ts AS TIMESTAMP(0)) AS second, count(*) AS n FROM a GROUP BY 1",
    ),
    (
        "by the time of a table beside",
        "SELECT tumble(a.ts, INTERVAL '1 minute') AS w, past.ts AS then, count(*) AS n FROM a JOIN past ON past.k = a.k GROUP BY 1, past.ts",
    ),
    (
        "a time that is moved",
        "SELECT tumble(late, INTERVAL '1 minute') AS w, count(*) AS n FROM (SELECT ts + INTERVAL '17 seconds' AS late FROM a) AS m \
         GROUP BY 1",
    ),
    (
        "having",
        "SELECT tumble(INTERVAL '30 seconds') AS w, count(*) AS n FROM a GROUP BY 1 HAVING count(*) > 5 AND max(v) > 8",
    ),
    (
        "two streams united",
        "SELECT tumble(ts, INTERVAL '1 minute') AS w, side, count(*) AS n, sum(v) AS s FROM \
         (SELECT ts, v, 'a' AS side FROM a UNION ALL SELECT ts, v, 'b' FROM b) AS both_sides GROUP BY 1, side",
    ),
    (
        "one stream united with itself",
        "SELECT tumble(ts, INTERVAL '1 minute') AS w, count(*) AS n FROM (SELECT ts FROM a UNION ALL SELECT ts FROM a WHERE v > 3) AS u \
         GROUP BY 1",
    ),
    (
        "a table expression that is read twice",
        "WITH each AS (SELECT tumble(INTERVAL '1 minute') AS w, k, count(*) AS n FROM a GROUP BY 1, k), \
         best AS (SELECT w, max(n) AS most FROM each GROUP BY w) \
         SELECT each.w, each.k, each.n FROM each JOIN best ON each.w = best.w AND each.n = best.most",
    ),
    (
        "an inner join with bounds",
        "SELECT a.id AS l, b.id AS r FROM a JOIN b ON a.k = b.k AND a.ts BETWEEN b.ts - INTERVAL '10 seconds' AND b.ts + INTERVAL '5 seconds'",
    ),
    (
        "an inner join without bounds",
        "SELECT a.id AS l, b.id AS r FROM a JOIN b ON a.v = b.v AND a.k < b.k",
    ),
    (
        "an inner join without equality",
        "SELECT a.id AS l, b.id AS r FROM a JOIN b ON a.v + b.v = 17 AND a.v > b.v AND a.ts < b.ts",
    ),
    (
        "a join where NULL meets NULL",
        "SELECT a.id AS l, b.id AS r FROM a JOIN b ON (a.k IS NOT DISTINCT FROM b.k) AND a.v = b.v AND a.ts BETWEEN b.ts - INTERVAL '40 seconds' AND b.ts",
    ),
    (
        "a left join",
        "SELECT a.id AS l, a.k, b.id AS r FROM a LEFT JOIN b ON a.k = b.k AND a.v <> b.v AND b.ts BETWEEN a.ts AND a.ts + INTERVAL '3 seconds'",
    ),
    (
        "a left join that looks back",
        "SELECT a.id AS l, b.id AS r FROM a LEFT JOIN b ON a.v = b.v AND a.ts BETWEEN b.ts AND b.ts + INTERVAL '10 seconds'",
    ),
    (
        "a right join",
        "SELECT a.id AS l, b.id AS r FROM a RIGHT JOIN b ON a.k = b.k AND a.v = b.v AND a.ts BETWEEN b.ts - INTERVAL '30 seconds' AND b.ts",
    ),
    (
        "a full join",
        "SELECT a.id AS l, b.id AS r FROM a FULL JOIN b ON a.k = b.k AND a.v = b.v AND a.ts BETWEEN b.ts - INTERVAL '9 seconds' AND b.ts + INTERVAL '9 seconds'",
    ),
    (
        "a full join of windows",
        "SELECT x.w AS xw, y.w AS yw, x.n AS xn, y.n AS yn FROM \
         (SELECT tumble(INTERVAL '10 seconds') AS w, count(*) AS n FROM a WHERE v > 5 GROUP BY 1) AS x FULL JOIN \
         (SELECT tumble(INTERVAL '10 seconds') AS w, count(*) AS n FROM b WHERE v < 4 GROUP BY 1) AS y ON x.w = y.w AND x.n >= y.n",
    ),
    (
        "a join of a stream with itself",
        "SELECT x.id AS l, y.id AS r FROM a AS x JOIN a AS y ON x.ts = y.ts AND x.id < y.id",
    ),
    (
        "an aggregate of a join",
        "SELECT tumble(at, INTERVAL '1 minute') AS w, k, count(*) AS n, sum(r) AS s FROM \
         (SELECT a.ts AS at, a.k, b.v AS r FROM a JOIN b ON a.k = b.k AND a.ts BETWEEN b.ts - INTERVAL '10 seconds' AND b.ts) AS j GROUP BY 1, k",
    ),
    (
        "an aggregate of an outer join",
        "SELECT tumble(at, INTERVAL '1 minute') AS w, count(*) AS n, count(r) AS partners FROM \
         (SELECT a.ts AS at, b.id AS r FROM a LEFT JOIN b ON a.k = b.k AND a.ts BETWEEN b.ts - INTERVAL '10 seconds' AND b.ts) AS j GROUP BY 1",
    ),
    (
        "an aggregate of a join by the time that is moved in its condition",
        "SELECT tumble(at, INTERVAL '1 minute') AS w, count(*) AS n FROM \
         (SELECT b.ts AS at FROM a JOIN b ON a.k = b.k AND a.ts BETWEEN b.ts - INTERVAL '10 seconds' AND b.ts + INTERVAL '4 seconds') AS j GROUP BY 1",
    ),
    (
        "the first three of each window",
        "SELECT w, k, id, place FROM (SELECT w, k, id, row_number() OVER (PARTITION BY w, k ORDER BY v DESC NULLS LAST, id) AS place FROM \
         (SELECT tumble(INTERVAL '1 minute') AS w, k, id, v FROM a) AS windowed) AS ranked WHERE place <= 3",
    ),
    (
        "ranks of window aggregates",
        "SELECT w, k, n, rank() OVER (PARTITION BY w ORDER BY n DESC) AS place FROM \
         (SELECT tumble(INTERVAL '1 minute') AS w, k, count(*) AS n FROM a GROUP BY 1, k) AS counted",
    ),
    (
        "the first of each window counted by their times",
        "SELECT ts, count(*) AS n FROM (SELECT ts, row_number() OVER (PARTITION BY w ORDER BY id) AS place FROM \
         (SELECT tumble(INTERVAL '1 minute') AS w, ts, id FROM a) AS windowed) AS ranked WHERE place <= 10 GROUP BY ts",
    ),
    (
        "the first of each window counted by it",
        "SELECT w, count(*) AS n, sum(id) AS s FROM (SELECT w, id, row_number() OVER (PARTITION BY w, k ORDER BY id) AS place FROM \
         (SELECT tumble(INTERVAL '1 minute') AS w, k, id FROM a) AS windowed) AS ranked WHERE place = 1 GROUP BY w",
    ),
    (
        "windows that have one in the other stream",
        "SELECT x.w, x.n FROM (SELECT tumble(INTERVAL '5 seconds') AS w, count(*) AS n FROM a GROUP BY 1) AS x WHERE EXISTS \
         (SELECT 1 FROM (SELECT tumble(INTERVAL '5 seconds') AS w, count(*) AS n FROM b GROUP BY 1) AS y WHERE y.w = x.w AND y.n < x.n)",
    ),
    (
        "windows that have none in the other stream",
        "SELECT x.w, x.n FROM (SELECT tumble(INTERVAL '5 seconds') AS w, count(*) AS n FROM a GROUP BY 1) AS x WHERE NOT EXISTS \
         (SELECT 1 FROM (SELECT tumble(INTERVAL '5 seconds') AS w, count(*) AS n FROM b GROUP BY 1) AS y WHERE y.w = x.w)",
    ),
    (
        "an aggregate beside a table",
        "SELECT w, name, n FROM (SELECT tumble(INTERVAL '1 minute') AS w, k, count(*) AS n FROM a GROUP BY 1, k) AS x JOIN dim ON dim.k = x.k",
    ),
    (
        "an aggregate beside an empty table",
        "SELECT w, n FROM (SELECT tumble(INTERVAL '1 minute') AS w, k, count(*) AS n FROM a GROUP BY 1, k) AS x \
         LEFT JOIN (SELECT k FROM dim WHERE name = 'nobody') AS d ON d.k = x.k",
    ),
    (
        "an aggregate of a join with a table",
        "SELECT tumble(a.ts, INTERVAL '1 minute') AS w, name, count(*) AS n FROM a LEFT JOIN dim ON dim.k = a.k GROUP BY 1, name",
    ),
    (
        "an aggregate of a join with a shared table",
        "SELECT tumble(a.ts, INTERVAL '1 minute') AS w, weight, count(*) AS n, sum(v * weight) AS s FROM a JOIN model ON model.k = a.k \
         WHERE v > (SELECT min(weight) FROM model) GROUP BY 1, weight",
    ),
    (
        "unnested lists",
        "SELECT tumble(ts, INTERVAL '1 minute') AS w, tag, count(*) AS n FROM (SELECT ts, unnest(tags) AS tag FROM a) AS t GROUP BY 1, tag",
    ),
    (
        "no state at all",
        "SELECT id, ts, v * 2 AS twice FROM a WHERE k IS NOT NULL",
    ),
];

/// A query whose rows replace those before them with the same first columns, which are so many.
pub(crate) const UPDATE: &[(&str, &[&str], &str)] = &[
    (
        "by key",
        &["k"],
        "SELECT k, count(*) AS n, sum(v) AS s, avg(v) AS mean, count(DISTINCT v) AS different, array_agg(id ORDER BY id) AS ids FROM a GROUP BY k",
    ),
    (
        "of all",
        &[],
        "SELECT count(*) AS n, max(v) AS hi, count(k) FILTER (WHERE v > 2) AS big FROM a",
    ),
    (
        "by window",
        &["w", "k"],
        "SELECT hop(INTERVAL '30 seconds', INTERVAL '1 minute') AS w, k, count(*) AS n FROM a GROUP BY 1, k",
    ),
    (
        "of a join",
        &["k"],
        "SELECT a.k, count(*) AS n, sum(b.v) AS s FROM a JOIN b ON a.k = b.k AND a.v = b.v GROUP BY a.k",
    ),
    (
        "of windows",
        &["k"],
        "SELECT k, max(n) AS most FROM (SELECT tumble(INTERVAL '1 minute') AS w, k, count(*) AS n FROM a GROUP BY 1, k) AS x GROUP BY k",
    ),
    (
        "of rows that differ",
        &["k"],
        "SELECT k, count(*) AS n FROM (SELECT DISTINCT k, v FROM a UNION ALL SELECT DISTINCT k, v FROM b) AS x GROUP BY k",
    ),
    (
        "by sets of keys",
        &["k", "v"],
        "SELECT k, v, count(*) AS n FROM a WHERE k IS NOT NULL AND v IS NOT NULL GROUP BY ROLLUP (k, v)",
    ),
];

/// A query whose whole result is given each time.
pub(crate) const COMPLETE: &[(&str, &str)] = &[
    (
        "by key",
        "SELECT k, count(*) AS n, sum(v) AS s, min(v) AS lo FROM a GROUP BY k",
    ),
    ("of all", "SELECT count(*) AS n, sum(v) AS s FROM a"),
    (
        "the most frequent",
        "SELECT k, v, count(*) AS n FROM a GROUP BY k, v ORDER BY n DESC, k, v LIMIT 4",
    ),
    (
        "of an aggregate",
        "SELECT n, count(*) AS keys FROM (SELECT k, v, count(*) AS n FROM a GROUP BY k, v) AS x GROUP BY n HAVING n > 1 ORDER BY keys DESC, n LIMIT 3",
    ),
    (
        "ranked",
        "SELECT k, n, row_number() OVER (ORDER BY n DESC, k) AS place FROM (SELECT k, count(*) AS n FROM a GROUP BY k) AS x",
    ),
    (
        "different ones",
        "SELECT DISTINCT k, v FROM a ORDER BY k, v LIMIT 7",
    ),
    (
        "some of the different ones, counted",
        "SELECT count(*) AS n FROM (SELECT DISTINCT v FROM (SELECT k, v, count(*) AS n FROM a GROUP BY k, v) AS x LIMIT 5) AS y",
    ),
    (
        "two of them joined",
        "SELECT x.k, x.n, y.n AS m FROM (SELECT k, count(*) AS n FROM a GROUP BY k) AS x JOIN \
         (SELECT k, count(*) AS n FROM b WHERE v > 3 GROUP BY k) AS y ON x.k = y.k",
    ),
    (
        "two of them joined, one without rows",
        "SELECT x.k, x.n, y.n AS m FROM (SELECT k, count(*) AS n FROM a GROUP BY k) AS x LEFT JOIN \
         (SELECT k, count(*) AS n FROM b WHERE v > 300 GROUP BY k) AS y ON x.k = y.k",
    ),
    (
        "beside a table",
        "SELECT name, n FROM dim LEFT JOIN (SELECT k, count(*) AS n FROM a GROUP BY k) AS x ON dim.k = x.k",
    ),
    (
        "with rows of a table",
        "SELECT k, count(*) AS n FROM a GROUP BY k UNION ALL SELECT name, 0 FROM dim",
    ),
];
