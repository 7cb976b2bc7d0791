-- What auctions of each category end at, on average.
WITH ended AS (
  SELECT a.id, a.category, max(b.price) AS price
  FROM auction AS a
  JOIN bid AS b ON b.auction = a.id
  WHERE b.date_time BETWEEN a.date_time AND a.expires
  GROUP BY a.id, a.category
)
SELECT category, avg(price) AS average
FROM ended
GROUP BY category
