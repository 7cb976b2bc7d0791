-- Bids in a range of prices, with the time of day and a count made by a function of the user's.
SELECT
  auction,
  bidder,
  0.908 * price AS price,
  CASE
    WHEN extract(hour FROM date_time) BETWEEN 8 AND 18 THEN 'day'
    WHEN extract(hour FROM date_time) < 6 OR extract(hour FROM date_time) > 20 THEN 'night'
    ELSE 'between'
  END AS time_of_day,
  date_time,
  extra,
  count_char(extra, 'c') AS c_counts
FROM bid
WHERE 0.908 * price > 1000000 AND 0.908 * price < 50000000
