-- How many events of each type there were in each hour.
CREATE TABLE cars (timestamp TIMESTAMP, driver_id BIGINT, event_type TEXT, location TEXT{watermark})
WITH ({cars}, format = 'json', type = 'source');

CREATE TABLE output (event_type TEXT, hour TIMESTAMP, count BIGINT)
WITH (connector = 'single_file', path = '{output}', format = '{format}', type = 'sink');

CREATE JOB golden WITH ({job}) AS
INSERT INTO output
SELECT event_type, window.start, count
FROM (
  SELECT event_type, tumble({time}INTERVAL '1' HOUR) AS window, count(*) AS count
  FROM cars
  GROUP BY event_type, window
);
