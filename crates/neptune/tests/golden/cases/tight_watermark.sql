-- How many events there were in each hour, through a view; the watermark has no delay.
CREATE TABLE cars (timestamp TIMESTAMP, driver_id BIGINT, event_type TEXT, location TEXT{watermark})
WITH ({cars}, format = 'json', type = 'source');

CREATE TABLE output (timestamp TIMESTAMP, count BIGINT)
WITH (connector = 'single_file', path = '{output}', format = '{format}', type = 'sink');

CREATE VIEW rides AS SELECT timestamp, driver_id FROM cars;

CREATE JOB golden WITH ({job}) AS
INSERT INTO output
SELECT window."end", count
FROM (SELECT tumble({time}INTERVAL '1 hour') AS window, count(*) AS count FROM rides GROUP BY 1);
