-- Per hour, how many drivers dropped somebody off and how many picked somebody up.
CREATE TABLE cars (timestamp TIMESTAMP, driver_id BIGINT, event_type TEXT, location TEXT{watermark})
WITH ({cars}, format = 'json', type = 'source');

CREATE TABLE output (hour TIMESTAMP, drivers BIGINT, pickups BIGINT)
WITH (connector = 'single_file', path = '{output}', format = '{format}', type = 'sink');

CREATE JOB golden WITH ({job}) AS
INSERT INTO output
SELECT dropoffs.window.start, drivers, pickups
FROM (
  SELECT tumble({time}INTERVAL '1' HOUR) AS window, count(DISTINCT driver_id) AS drivers
  FROM cars WHERE event_type = 'dropoff' GROUP BY 1
) AS dropoffs
JOIN (
  SELECT tumble({time}INTERVAL '1' HOUR) AS window, count(DISTINCT driver_id) AS pickups
  FROM cars WHERE event_type = 'pickup' GROUP BY 1
) AS pickups
ON dropoffs.window = pickups.window;
