-- Bids of each bidder in each of their sessions, which end after ten seconds without one.
SELECT
  bidder,
  count(*) AS bids,
  session(date_time, INTERVAL '10 seconds')['start'] AS session_start,
  session(date_time, INTERVAL '10 seconds')['end'] AS session_end
FROM bid
GROUP BY bidder, session(date_time, INTERVAL '10 seconds')
