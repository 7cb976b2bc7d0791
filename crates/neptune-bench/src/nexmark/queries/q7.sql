-- The highest bids of every ten seconds.
WITH highest AS (
  SELECT tumble(date_time, INTERVAL '10 seconds') AS win, max(price) AS price
  FROM bid
  GROUP BY tumble(date_time, INTERVAL '10 seconds')
)
SELECT b.auction, b.bidder, b.price, b.date_time, b.extra
FROM bid AS b
JOIN highest AS h
  ON b.price = h.price AND b.date_time >= h.win['start'] AND b.date_time < h.win['end']
