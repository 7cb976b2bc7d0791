-- Every bid with its day and minute as text, as a log that is kept by these would want it.
SELECT
  auction,
  bidder,
  price,
  date_time,
  extra,
  to_char(date_time, '%Y-%m-%d') AS day,
  to_char(date_time, '%H:%M') AS minute
FROM bid
