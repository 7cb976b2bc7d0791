-- Each minute, the driver with the most events in the hour before.
CREATE TABLE cars (timestamp TIMESTAMP, driver_id BIGINT, event_type TEXT, location TEXT{watermark})
WITH ({cars}, format = 'json', type = 'source');

CREATE TABLE output (start TIMESTAMP, "end" TIMESTAMP, driver_id BIGINT, count BIGINT, row_number BIGINT)
WITH (connector = 'single_file', path = '{output}', format = '{format}', type = 'sink');

CREATE JOB golden WITH ({job}) AS
INSERT INTO output
WITH counts AS (
  SELECT hop({time}INTERVAL '1 minute', INTERVAL '1 hour') AS window, driver_id, count(*) AS count
  FROM cars
  GROUP BY window, driver_id
), ranked AS (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY window ORDER BY count DESC, driver_id DESC) AS row_number
  FROM counts
)
SELECT window.start, window."end", driver_id, count, row_number
FROM ranked
WHERE row_number = 1;
