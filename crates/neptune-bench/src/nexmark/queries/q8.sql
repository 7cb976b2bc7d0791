-- Persons who open auctions within the ten seconds in which they registered.
WITH registered AS (
  SELECT id, name, tumble(date_time, INTERVAL '10 seconds')['start'] AS window_start
  FROM person
  GROUP BY id, name, tumble(date_time, INTERVAL '10 seconds')
), selling AS (
  SELECT seller, tumble(date_time, INTERVAL '10 seconds')['start'] AS window_start
  FROM auction
  GROUP BY seller, tumble(date_time, INTERVAL '10 seconds')
)
SELECT r.id, r.name, r.window_start
FROM registered AS r
JOIN selling AS s ON r.id = s.seller AND r.window_start = s.window_start
