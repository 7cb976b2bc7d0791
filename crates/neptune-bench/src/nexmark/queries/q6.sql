-- What each seller's last ten auctions ended at, on average, after each of them.
WITH ranked AS (
  SELECT
    a.id,
    a.seller,
    a.expires,
    b.price,
    row_number() OVER (PARTITION BY a.id ORDER BY b.price DESC, b.date_time) AS place
  FROM auction AS a
  JOIN bid AS b ON b.auction = a.id
  WHERE b.date_time BETWEEN a.date_time AND a.expires
)
SELECT
  seller,
  expires,
  avg(price) OVER (
    PARTITION BY seller ORDER BY expires, id ROWS BETWEEN 9 PRECEDING AND CURRENT ROW
  ) AS average
FROM ranked
WHERE place = 1
