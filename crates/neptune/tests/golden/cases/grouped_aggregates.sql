-- Aggregates that each new row changes.
CREATE TABLE impulse (timestamp TIMESTAMP, counter BIGINT, subtask_index BIGINT{watermark})
WITH ({impulse}, format = 'json', type = 'source');

CREATE TABLE output (counter_mod BIGINT, min BIGINT, max BIGINT, sum BIGINT, count BIGINT, avg DOUBLE)
WITH (connector = 'single_file', path = '{output}', format = '{format}', type = 'sink');

CREATE JOB golden WITH ({job}) AS
INSERT INTO output
SELECT counter % 5 AS counter_mod, min(counter), max(counter), sum(counter), count(*), avg(counter)
FROM impulse
GROUP BY 1;
