-- Bids of each bidder in every ten seconds of the clock on the wall.
SELECT
  bidder,
  count(*) AS bids,
  tumble(now(), INTERVAL '10 seconds')['start'] AS window_start
FROM bid
GROUP BY bidder, tumble(now(), INTERVAL '10 seconds')
