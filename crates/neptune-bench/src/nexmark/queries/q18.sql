-- The last bid of each bidder for each auction.
WITH ranked AS (
  SELECT
    *,
    row_number() OVER (PARTITION BY bidder, auction ORDER BY date_time DESC) AS place
  FROM bid
)
SELECT auction, bidder, price, channel, url, date_time, extra
FROM ranked
WHERE place = 1
