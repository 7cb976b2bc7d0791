SELECT
  tumble(e.event_time, INTERVAL '10 seconds')['start'] AS window_start,
  c.campaign_id,
  count(*) AS views,
  max(e.event_time) AS last_view
FROM events AS e
JOIN campaigns AS c ON e.ad_id = c.ad_id
WHERE e.event_type = 'view'
GROUP BY tumble(e.event_time, INTERVAL '10 seconds'), c.campaign_id
