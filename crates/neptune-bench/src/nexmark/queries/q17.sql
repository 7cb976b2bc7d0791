-- Bids for each auction on each day: how many, by ranges of price, and how high.
SELECT
  auction,
  to_char(date_time, '%Y-%m-%d') AS day,
  count(*) AS bids,
  count(*) FILTER (WHERE price < 10000) AS low_bids,
  count(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS middle_bids,
  count(*) FILTER (WHERE price >= 1000000) AS high_bids,
  min(price) AS lowest,
  max(price) AS highest,
  avg(price) AS average,
  sum(price) AS total
FROM bid
GROUP BY auction, day
