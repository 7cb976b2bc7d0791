-- The auctions with the most bids of the last ten seconds, every two seconds.
WITH counted AS (
  SELECT
    hop(date_time, INTERVAL '2 seconds', INTERVAL '10 seconds')['start'] AS window_start,
    auction,
    count(*) AS bids
  FROM bid
  GROUP BY hop(date_time, INTERVAL '2 seconds', INTERVAL '10 seconds'), auction
), ranked AS (
  SELECT *, rank() OVER (PARTITION BY window_start ORDER BY bids DESC) AS place
  FROM counted
)
SELECT window_start, auction, bids
FROM ranked
WHERE place = 1
