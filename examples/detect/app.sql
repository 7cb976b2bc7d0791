-- Detection of malicious behaviour at a shop: two kinds of jobs on the same cores and the same data.
--
--   train   (batch)   learns how users and addresses behave, over 20 million past events, again and again
--   detect  (stream)  scores every new event against the newest model, every 50 ms
--   audit   (stream)  keeps the truth about injected attackers, to measure detection by
--   quality (batch)   says at the end how good detection was
--
-- Run it:  cargo run --release -- run examples/detect/app.sql --until '60 s'

-- The past: generated into `path` on first use, the same for the same seed everywhere.
CREATE TABLE history WITH (
  connector = 'shop',
  part = 'history',
  path = 'data/shop',
  rows = 20000000,
  seed = 7
);

-- The present: the events that follow the last one of the history, and never end.
CREATE TABLE events WITH (
  connector = 'shop',
  part = 'events',
  rows = 20000000,
  seed = 7,
  rows_per_second = 20000
);

-- What training publishes: one row a user and one an address, all of one version.
CREATE TABLE model (
  kind TEXT,                -- 'user' or 'address'
  user_id BIGINT,           -- the key of a user's row
  ip TEXT,                  -- the key of an address's row
  events BIGINT,
  users BIGINT,             -- how many accounts an address used
  home_country TEXT,        -- where a user mostly is
  fail_share DOUBLE,        -- of an address's events, how many were failed logins,
  view_share DOUBLE,        --   page views,
  purchase_share DOUBLE,    --   purchases
  amount_mean DOUBLE,       -- what a user mostly pays,
  amount_std DOUBLE         --   and how much that varies
) WITH (connector = 'shared');

CREATE TABLE alerts (
  event_id BIGINT,
  ts TIMESTAMP,
  user_id BIGINT,
  ip TEXT,
  reason TEXT,
  score DOUBLE,
  model_version BIGINT,
  attack TEXT               -- the truth, for the summary only
) WITH (connector = 'filesystem', path = 'out/alerts', format = 'json');

CREATE TABLE truth (event_id BIGINT, attack TEXT) WITH (connector = 'memory');

CREATE JOB train WITH (class = 'batch', every = '10 s') AS
INSERT OVERWRITE model
SELECT
  'user' AS kind,
  user_id,
  CAST(NULL AS TEXT) AS ip,
  CAST(sum(events) AS BIGINT) AS events,
  CAST(NULL AS BIGINT) AS users,
  first_value(country ORDER BY events DESC, country) AS home_country,
  CAST(NULL AS DOUBLE) AS fail_share,
  CAST(NULL AS DOUBLE) AS view_share,
  CAST(NULL AS DOUBLE) AS purchase_share,
  sum(paid) / sum(purchases) AS amount_mean,
  sqrt(greatest(sum(paid_squared) / sum(purchases) - power(sum(paid) / sum(purchases), 2), 0.0))
    AS amount_std
FROM (
  SELECT
    user_id,
    country,
    count(*) AS events,
    count(amount) AS purchases,
    sum(amount) AS paid,
    sum(amount * amount) AS paid_squared
  FROM history
  GROUP BY user_id, country
) AS habits
GROUP BY user_id
UNION ALL
SELECT
  'address',
  CAST(NULL AS BIGINT),
  ip,
  CAST(sum(events) AS BIGINT),
  count(*),
  CAST(NULL AS TEXT),
  CAST(sum(fails) AS DOUBLE) / sum(events),
  CAST(sum(views) AS DOUBLE) / sum(events),
  CAST(sum(purchases) AS DOUBLE) / sum(events),
  CAST(NULL AS DOUBLE),
  CAST(NULL AS DOUBLE)
FROM (
  SELECT
    ip,
    user_id,
    count(*) AS events,
    count(*) FILTER (WHERE action = 'login_failed') AS fails,
    count(*) FILTER (WHERE action = 'view') AS views,
    count(*) FILTER (WHERE action = 'purchase') AS purchases
  FROM history
  GROUP BY ip, user_id
) AS visitors
GROUP BY ip;

-- An event's score is the highest of four, one for each kind of attack; an alert starts at 0.5.
-- Without a model (version 0 has no rows) every score is 0, and there are no alerts.
CREATE JOB detect WITH (class = 'stream', trigger = '50 ms') AS
INSERT INTO alerts
SELECT
  event_id,
  ts,
  user_id,
  ip,
  CASE score
    WHEN stuffing THEN 'credential_stuffing'
    WHEN carding THEN 'carding'
    WHEN scraping THEN 'scraper'
    ELSE 'account_takeover'
  END AS reason,
  score,
  model_version,
  attack
FROM (
  SELECT *, greatest(stuffing, carding, scraping, takeover) AS score
  FROM (
    SELECT
      e.event_id,
      e.ts,
      e.user_id,
      e.ip,
      e.attack,
      COALESCE(u.version, a.version) AS model_version,
      -- Logins from an address where most fail, on many accounts.
      CASE WHEN e.action IN ('login', 'login_failed')
        THEN COALESCE(a.fail_share * least(a.users / 5.0, 1.0), 0.0) ELSE 0.0 END AS stuffing,
      -- Payments from an address that does little else, with many accounts.
      CASE WHEN e.action IN ('add_to_cart', 'purchase')
        THEN COALESCE(a.purchase_share * least(a.users / 5.0, 1.0), 0.0) ELSE 0.0 END AS carding,
      -- Page views from an address that has seen many pages and does nothing else.
      CASE WHEN e.action IN ('view', 'search')
        THEN COALESCE((a.view_share - 0.7) / 0.3 * least(a.events / 40.0, 1.0), 0.0) ELSE 0.0 END
        AS scraping,
      -- A user far from home, at an address nobody knows, or paying far more than usual.
      CASE WHEN e.country <> u.home_country
        THEN CASE WHEN a.ip IS NULL THEN 0.6 ELSE 0.2 END
           + CASE WHEN e.amount > u.amount_mean + 4.0 * u.amount_std THEN 0.4 ELSE 0.0 END
        ELSE 0.0 END AS takeover
    FROM events AS e
    LEFT JOIN (
      SELECT user_id, home_country, amount_mean, amount_std, _version AS version
      FROM model WHERE kind = 'user'
    ) AS u ON u.user_id = e.user_id
    LEFT JOIN (
      SELECT ip, events, users, fail_share, view_share, purchase_share, _version AS version
      FROM model WHERE kind = 'address'
    ) AS a ON a.ip = e.ip
  ) AS scored
) AS judged
WHERE score >= 0.5;

CREATE JOB audit WITH (class = 'stream', trigger = '50 ms') AS
INSERT INTO truth
SELECT event_id, attack FROM events WHERE attack IS NOT NULL;

-- Counted from the first alert, when there was a model, to the last event that both streams saw.
CREATE JOB quality WITH (class = 'batch', trigger = 'end') AS
WITH span AS (
  SELECT
    (SELECT min(event_id) FROM alerts) AS first,
    least((SELECT max(event_id) FROM alerts), (SELECT max(event_id) FROM truth)) AS last
),
alerted AS (
  SELECT DISTINCT event_id, attack
  FROM alerts CROSS JOIN span WHERE event_id BETWEEN first AND last
),
attacked AS (
  SELECT truth.event_id, truth.attack, alerted.event_id IS NOT NULL AS found
  FROM truth
  CROSS JOIN span
  LEFT JOIN alerted ON alerted.event_id = truth.event_id
  WHERE truth.event_id BETWEEN first AND last
)
SELECT
  attacks,
  alerts,
  CAST(caught AS DOUBLE) / NULLIF(attacks, 0) AS recall,
  CAST(justified AS DOUBLE) / NULLIF(alerts, 0) AS precision,
  recall_credential_stuffing,
  recall_carding,
  recall_scraper,
  recall_account_takeover
FROM (
  SELECT
    count(*) AS attacks,
    count(*) FILTER (WHERE found) AS caught,
    avg(CAST(found AS DOUBLE)) FILTER (WHERE attack = 'credential_stuffing')
      AS recall_credential_stuffing,
    avg(CAST(found AS DOUBLE)) FILTER (WHERE attack = 'carding') AS recall_carding,
    avg(CAST(found AS DOUBLE)) FILTER (WHERE attack = 'scraper') AS recall_scraper,
    avg(CAST(found AS DOUBLE)) FILTER (WHERE attack = 'account_takeover') AS recall_account_takeover
  FROM attacked
) AS attack_counts
CROSS JOIN (
  SELECT count(*) AS alerts, count(attack) AS justified FROM alerted
) AS alert_counts;
