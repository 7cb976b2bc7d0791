-- The ten highest bids for each auction; of equal ones the earlier.
WITH ranked AS (
  SELECT
    *,
    row_number() OVER (PARTITION BY auction ORDER BY price DESC, date_time) AS place
  FROM bid
)
SELECT auction, bidder, price, channel, url, date_time, extra, place
FROM ranked
WHERE place <= 10
