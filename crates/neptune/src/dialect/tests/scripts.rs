use super::super::{JobBody, StatementKind};
use super::{described, parsed};

/// Each script with the statements it holds, as `described` tells them.
#[test]
fn scripts_are_read_with_their_places() {
    let cases: &[(&str, &[&str])] = &[
        ("", &[]),
        (" ; ;\n-- nothing ; here\n/* nor ; here */;", &[]),
        // Tables.
        (
            "CREATE TABLE clicks (\n  ts TIMESTAMP, user_id BIGINT, url TEXT,\n  \
             WATERMARK FOR ts AS ts - INTERVAL '5 seconds'      -- `WATERMARK FOR ts` alone: zero delay\n\
             ) WITH (connector = 'filesystem', path = 'clicks/', format = 'json', type = 'source');",
            &[
                "1:1 table clicks@1:14 (ts Timestamp(ns)@2:3, user_id Int64@2:17, url Utf8View@2:33) \
               watermark ts@3:17 as ts - INTERVAL '5 seconds'@3:23 connector filesystem@4:21 \
               [connector@4:9=filesystem@4:21, path@4:35=clicks/@4:42, format@4:53=json@4:62, type@4:70=source@4:77]",
            ],
        ),
        (
            "create or replace table \"A\".b (x int not null, y decimal(10, 2) null, watermark for \"x\")\n\
             with ('connector' = 'Rate', rows_per_second = 1000, Scan.Startup.mode = true, \"k.Q\" = -1.5)",
            &[
                "1:1 table A.b@1:25 or replace (x Int32 not null@1:32, y Decimal128(10, 2)@1:48) \
               watermark x@1:85 connector rate@2:21 [connector@2:7=Rate@2:21, rows_per_second@2:29=1000@2:47, \
               scan.startup.mode@2:53=true@2:73, k.q@2:79=-1.5@2:87]",
            ],
        ),
        (
            "CREATE TABLE IF NOT EXISTS t WITH (connector = 'rate', event_time_field = 'timestamp')",
            &[
                "1:1 table t@1:28 if not exists () watermark timestamp@1:75 connector rate@1:48 \
               [connector@1:36=rate@1:48, event_time_field@1:56=timestamp@1:75]",
            ],
        ),
        (
            "CREATE TABLE t (WATERMARK FOR ts) WITH (connector = 'nexmark', event_time_field = 'ts')",
            &[
                "1:1 table t@1:14 () watermark ts@1:31 connector nexmark@1:53 \
               [connector@1:41=nexmark@1:53, event_time_field@1:64=ts@1:83]",
            ],
        ),
        (
            "CREATE TABLE t (key INT, index TEXT, watermark TIMESTAMP, s STRUCT<a INT, b ARRAY<TEXT>>) \
             WITH (connector = 'memory')",
            &[
                "1:1 table t@1:14 (key Int32@1:17, index Utf8View@1:26, watermark Timestamp(ns)@1:38, \
               s Struct(\"a\": Int32, \"b\": List(Utf8View))@1:59) connector memory@1:109 \
               [connector@1:97=memory@1:109]",
            ],
        ),
        (
            "CREATE TABLE t WITH (connector = 'noop') ;",
            &["1:1 table t@1:14 () connector noop@1:34 [connector@1:22=noop@1:34]"],
        ),
        // Jobs.
        (
            "CREATE JOB detect WITH (class = 'stream', trigger = '50 ms', output_mode = 'append', checkpoint = 'ckpt/detect')\n\
             AS INSERT INTO alerts SELECT * FROM clicks ;                        -- named job\n\
             CREATE JOB train  WITH (class = 'batch', every = '30 s') AS INSERT OVERWRITE model SELECT 1 ;\n\n\
             SET neptune.job.class = 'stream';                       -- the one-line form",
            &[
                "1:1 job detect@1:12 [class@1:25=stream@1:33, trigger@1:43=50 ms@1:53, output_mode@1:62=append@1:76, \
               checkpoint@1:86=ckpt/detect@1:99] body@2:4 <INSERT INTO alerts SELECT * FROM clicks> \
               insert into alerts@2:16 () <- SELECT * FROM clicks",
                "3:1 job train@3:12 [class@3:25=batch@3:33, every@3:42=30 s@3:50] body@3:61 \
               <INSERT OVERWRITE model SELECT 1> insert overwrite model@3:78 () <- SELECT 1",
                "5:1 set neptune.job.class@5:5 = stream@5:25",
            ],
        ),
        (
            "CREATE JOB \"My Job\" AS\n WITH x AS (SELECT 1) (SELECT * FROM x) UNION ALL VALUES (2)",
            &[
                "1:1 job My Job@1:12 [] body@2:2 <WITH x AS (SELECT 1) (SELECT * FROM x) UNION ALL VALUES (2)> \
               query WITH x AS (SELECT 1) (SELECT * FROM x) UNION ALL VALUES (2)",
            ],
        ),
        (
            "show jobs; Drop Job if exists A; DROP JOB 7; SUSPEND JOB b; RESUME JOB \"C\"; CANCEL JOB d",
            &[
                "1:1 show jobs",
                "1:12 drop a@1:31 true",
                "1:34 drop 7@1:43 false",
                "1:46 suspend b@1:58",
                "1:61 resume C@1:72",
                "1:77 cancel d@1:88",
            ],
        ),
        // Settings, ours and DataFusion's.
        (
            "SET neptune.suspend.grace TO '100 ms'; SET datafusion.execution.batch_size = 2048;\n\
             SET a = -1; SET A.\"b.C\" = ON; SET timezone = '+01:00'; SET x = E'a\\tb'; SET TIME ZONE = 'UTC'",
            &[
                "1:1 set neptune.suspend.grace@1:5 = 100 ms@1:30",
                "1:40 set datafusion.execution.batch_size@1:44 = 2048@1:78",
                "2:1 set a@2:5 = -1@2:9",
                "2:13 set a.b.c@2:17 = on@2:27",
                "2:31 set timezone@2:35 = +01:00@2:46",
                "2:56 set x@2:60 = a\tb@2:64",
                "2:73 sql SET TIMEZONE = 'UTC'",
            ],
        ),
        // Inserts.
        (
            "INSERT INTO s.t (a, \"B\") VALUES (1, 2); INSERT OVERWRITE TABLE m WITH x AS (SELECT 1) SELECT * FROM x",
            &[
                "1:1 insert into s.t@1:13 (a@1:18, B@1:21) <- VALUES (1, 2)",
                "1:41 insert overwrite m@1:64 () <- WITH x AS (SELECT 1) SELECT * FROM x",
            ],
        ),
        // What planning the query alone would lose goes to DataFusion as it is.
        (
            "INSERT INTO t SELECT * FROM u RETURNING a; REPLACE INTO t SELECT 1; INSERT OR IGNORE INTO t SELECT 1",
            &[
                "1:1 sql INSERT INTO t SELECT * FROM u RETURNING a",
                "1:44 sql REPLACE INTO t SELECT 1",
                "1:69 sql INSERT OR IGNORE INTO t SELECT 1",
            ],
        ),
        // DataFusion's own statements.
        (
            "EXPLAIN ANALYZE SELECT 1; CREATE TABLE c AS SELECT * FROM t; CREATE TABLE d (a INT);\n\
             CREATE VIEW v AS SELECT 1; DROP TABLE IF EXISTS c; SHOW TABLES;\n\
             CREATE EXTERNAL TABLE e STORED AS PARQUET LOCATION 'x;y'; COPY t TO 'o.csv'; RESET datafusion.x",
            &[
                "1:1 sql EXPLAIN ANALYZE SELECT 1",
                "1:27 sql CREATE TABLE c AS SELECT * FROM t",
                "1:62 sql CREATE TABLE d (a INT)",
                "2:1 sql CREATE VIEW v AS SELECT 1",
                "2:28 sql DROP TABLE IF EXISTS c",
                "2:52 sql SHOW TABLES",
                "3:1 sql CREATE EXTERNAL TABLE e STORED AS PARQUET LOCATION 'x;y'",
                "3:59 sql COPY t TO o.csv",
                "3:78 sql RESET datafusion.x",
            ],
        ),
        // Window functions, and both forms of the table-valued ones.
        (
            "SELECT tumble(INTERVAL '1 minute') AS w, session(ts, INTERVAL '30 seconds'), count(*) FROM t GROUP BY w",
            &[
                "1:1 sql SELECT tumble(INTERVAL '1 minute') AS w, session(ts, INTERVAL '30 seconds'), count(*) \
               FROM t GROUP BY w",
            ],
        ),
        (
            "SELECT * FROM TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1 minute');\n\
             SELECT a FROM HOP( /* x */ DATA => TABLE \"T\", TIMECOL => DESCRIPTOR(a.ts), \
             SIZE => 2, SLIDE => 1) AS w; EXPLAIN SELECT 1 FROM session(a.t PARTITION BY b, c, DESCRIPTOR(ts), 3)",
            &[
                "1:1 sql SELECT * FROM (SELECT *, tumble(ts, INTERVAL '1 minute')['start'] AS window_start, \
                 tumble(ts, INTERVAL '1 minute')['end'] AS window_end, \
                 window_time(tumble(ts, INTERVAL '1 minute')) AS window_time FROM t WHERE ts IS NOT NULL)",
                "2:1 sql SELECT a FROM (SELECT *, hop(a.ts, 1, 2)['start'] AS window_start, \
                 hop(a.ts, 1, 2)['end'] AS window_end, window_time(hop(a.ts, 1, 2)) AS window_time FROM \"T\") AS w",
                "2:105 sql EXPLAIN SELECT 1 FROM (SELECT *, session_window(ts, 3, b, c)['start'] AS window_start, \
                 session_window(ts, 3, b, c)['end'] AS window_end, \
                 window_time(session_window(ts, 3, b, c)) AS window_time FROM a.t)",
            ],
        ),
        // Words that mean something in the arguments of a window table alone.
        (
            "SELECT tumble FROM hop AS session WHERE partition = descriptor; SELECT sum(a) OVER (PARTITION BY session (x)) FROM t",
            &[
                "1:1 sql SELECT tumble FROM hop AS session WHERE partition = descriptor",
                "1:65 sql SELECT sum(a) OVER (PARTITION BY session(x)) FROM t",
            ],
        ),
        // Comments, `;` in strings, CRLF, a byte order mark, letters of more than one byte.
        (
            "SELECT ';' AS \"a;b\" /* ; /* ; */ */, $$;$$; -- ;\nSELECT 2",
            &["1:1 sql SELECT ';' AS \"a;b\", $$;$$", "2:1 sql SELECT 2"],
        ),
        (
            "SET a = 'x';\r\n\r\n  SET b = 'y'\r\n;\r\n\tSET c = 1",
            &[
                "1:1 set a@1:5 = x@1:9",
                "3:3 set b@3:7 = y@3:11",
                "5:2 set c@5:6 = 1@5:10",
            ],
        ),
        (
            "\u{feff}SET ключ = 'Ä\nö'; INSERT INTO größe SELECT '日本'; SET x = 1",
            &[
                "1:1 set ключ@1:5 = Ä\nö@1:12",
                "2:5 insert into größe@2:17 () <- SELECT '日本'",
                "2:36 set x@2:40 = 1@2:44",
            ],
        ),
    ];
    for (script, expected) in cases {
        assert_eq!(&described(script), expected, "in\n{script}");
    }
}

#[test]
fn the_text_of_a_statement_is_what_was_written() {
    let script = "-- first\r\n  SELECT 'a;é' -- inside\r\n , 2 /* after */ ;\r\nSELECT 日 ;; SELECT\n3\n-- end";
    let texts: Vec<String> = parsed(script).into_iter().map(|s| s.text).collect();
    assert_eq!(
        texts,
        ["SELECT 'a;é' -- inside\r\n , 2", "SELECT 日", "SELECT\n3"]
    );
}

#[test]
fn a_table_has_a_schema_only_if_it_lists_columns() {
    let script = "CREATE TABLE t (Id INT NOT NULL, \"Name\" TEXT) WITH (connector = 'rate');\
                  CREATE TABLE u WITH (connector = 'rate')";
    let schemas: Vec<_> = parsed(script)
        .iter()
        .map(|s| match &s.kind {
            StatementKind::CreateTable(table) => table.schema(),
            other => panic!("{other:?}"),
        })
        .collect();
    let listed = schemas[0].as_ref().expect("columns are listed");
    let names: Vec<&str> = listed.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(names, ["id", "Name"]);
    assert!(schemas[1].is_none());
}

#[test]
fn an_insert_keeps_the_whole_statement_beside_its_query() {
    let script = "CREATE JOB j AS INSERT INTO t (a) SELECT 1";
    match &parsed(script)[0].kind {
        StatementKind::CreateJob(job) => match &job.body {
            JobBody::Insert(insert) => {
                assert_eq!(insert.statement.to_string(), "INSERT INTO t (a) SELECT 1");
                assert_eq!(insert.query.to_string(), "SELECT 1");
            }
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}
