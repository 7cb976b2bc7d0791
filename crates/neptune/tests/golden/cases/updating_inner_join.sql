-- A stream joined to a part of itself, without bounds in time.
CREATE TABLE impulse (timestamp TIMESTAMP, counter BIGINT, subtask_index BIGINT{watermark})
WITH ({impulse}, format = 'json', type = 'source');

CREATE TABLE output (left_count BIGINT, right_count BIGINT)
WITH (connector = 'single_file', path = '{output}', format = '{format}', type = 'sink');

CREATE VIEW odd AS SELECT counter FROM impulse WHERE counter % 2 = 1;

CREATE JOB golden WITH ({job}) AS
INSERT INTO output
SELECT impulse.counter AS left_count, odd.counter AS right_count
FROM impulse JOIN odd ON impulse.counter = odd.counter;
