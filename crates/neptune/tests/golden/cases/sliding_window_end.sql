-- Windows of ten seconds, one every two.
CREATE TABLE impulse (timestamp TIMESTAMP, counter BIGINT, subtask_index BIGINT{watermark})
WITH ({impulse}, format = 'json', type = 'source');

CREATE TABLE output (count BIGINT, min BIGINT, max BIGINT, start TIMESTAMP, "end" TIMESTAMP)
WITH (connector = 'single_file', path = '{output}', format = '{format}', type = 'sink');

CREATE JOB golden WITH ({job}) AS
INSERT INTO output
SELECT count(*), min(counter), max(counter), window_start, window_end
FROM TABLE(HOP(TABLE impulse, DESCRIPTOR(timestamp), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
GROUP BY window_start, window_end;
