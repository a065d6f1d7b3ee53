-- The channels by which a value could come out, each as a client would try it. A line `-- group/name` begins one, with
-- what is not usual: its protocol (text, binary, named, portions; else the simple one), the effect that policy sees in it
-- (write, execute, control; else read), `alone` (not in a transaction). Then a statement a line, in order.
-- @rows is a query for every column, as it is.

-- rows/simple
@rows
-- rows/text text
@rows
-- rows/binary binary
@rows
-- rows/named named
@rows
-- rows/portions portions
@rows
-- rows/several-at-once
SELECT 1; @rows; @rows LIMIT 1
-- rows/prepared alone
PREPARE p (int) AS @rows WHERE id <> $1
EXECUTE p (0)
EXECUTE p (1)
-- rows/prepared-bound binary alone
PREPARE q AS @rows
EXECUTE q

-- cursor/fetched
DECLARE c CURSOR FOR @rows
FETCH 2 FROM c
FETCH ALL FROM c
-- cursor/scrolled
DECLARE c SCROLL CURSOR FOR @rows
FETCH LAST FROM c
FETCH RELATIVE -3 FROM c
-- cursor/binary
DECLARE c BINARY CURSOR FOR @rows
FETCH ALL FROM c
-- cursor/extended binary
DECLARE c CURSOR FOR @rows
FETCH ALL FROM c

-- copy-query/text
COPY (@rows) TO STDOUT
-- copy-query/text-delimited
COPY (@rows) TO STDOUT WITH (DELIMITER '|', NULL 'none')
-- copy-query/csv
COPY (@rows) TO STDOUT WITH (FORMAT csv, HEADER)
-- copy-query/csv-quoted
COPY (@rows) TO STDOUT WITH (FORMAT csv, DELIMITER ';', QUOTE '''', FORCE_QUOTE *)
-- copy-query/csv-latin1
COPY (@rows) TO STDOUT WITH (FORMAT csv, ENCODING 'LATIN1')
-- copy-query/binary
COPY (@rows) TO STDOUT WITH (FORMAT binary)

-- copy-table/text
COPY doorward_canary.canaries (plain, text, number, document, cardlike) TO STDOUT
-- copy-table/text-delimited
COPY doorward_canary.canaries (plain, text, number, document, cardlike) TO STDOUT WITH (DELIMITER '|', NULL 'none')
-- copy-table/csv
COPY doorward_canary.canaries (plain, text, number, document, cardlike) TO STDOUT WITH (FORMAT csv, HEADER)
-- copy-table/csv-quoted
COPY doorward_canary.canaries (plain, text, number, document, cardlike) TO STDOUT WITH (FORMAT csv, DELIMITER ';', QUOTE '''', FORCE_QUOTE *)
-- copy-table/csv-latin1
COPY doorward_canary.canaries (plain, text, number, document, cardlike) TO STDOUT WITH (FORMAT csv, ENCODING 'LATIN1')
-- copy-table/binary
COPY doorward_canary.canaries (plain, text, number, document, cardlike) TO STDOUT WITH (FORMAT binary)

-- naming/star
SELECT * FROM doorward_canary.canaries
-- naming/table
TABLE doorward_canary.canaries
-- naming/alias
SELECT c.plain AS a, c.text AS plain, c.uuid AS id FROM doorward_canary.canaries AS c
-- naming/alias-list
SELECT b, c, d FROM doorward_canary.canaries AS t (a, b, c, d)
-- naming/subquery
SELECT x, plain FROM (SELECT plain, text || '' AS x FROM doorward_canary.canaries) AS s
-- naming/scalar
SELECT plain, (SELECT max(text) FROM doorward_canary.canaries) FROM doorward_canary.canaries LIMIT 1
-- naming/cte
WITH w AS (SELECT plain, text AS harmless FROM doorward_canary.canaries) SELECT * FROM w
-- naming/recursive
WITH RECURSIVE r (p, v, n) AS (SELECT plain, text, 1 FROM doorward_canary.canaries UNION ALL SELECT p, v, n + 1 FROM r WHERE n < 2) SELECT p, v FROM r
-- naming/lateral
SELECT t.plain, x.a FROM doorward_canary.canaries t, LATERAL (SELECT t.text AS a) x
-- naming/union
SELECT plain FROM doorward_canary.canaries UNION ALL SELECT text FROM doorward_canary.canaries
-- naming/values
SELECT plain, v FROM doorward_canary.canaries, LATERAL (VALUES (text), (number::text)) AS x (v)
-- naming/join
SELECT a.plain, b.text FROM doorward_canary.canaries a JOIN doorward_canary.canaries b USING (id)
-- naming/case
SELECT plain, CASE WHEN id > 0 THEN text END, coalesce(text, ''), nullif(text, 'x'), greatest(text, plain) FROM doorward_canary.canaries
-- naming/view
SELECT * FROM doorward_canary.seen
-- naming/materialised-view
SELECT * FROM doorward_canary.stored
-- naming/whole-row
SELECT plain, c FROM doorward_canary.canaries AS c
-- naming/record
SELECT plain, ROW(text, number, uuid) FROM doorward_canary.canaries
-- naming/window
SELECT plain, first_value(text) OVER (ORDER BY id), lag(number) OVER (ORDER BY id) FROM doorward_canary.canaries

-- naming-binary/whole-row binary
SELECT plain, c FROM doorward_canary.canaries AS c
-- naming-binary/view binary
SELECT * FROM doorward_canary.seen

-- expression/casts
SELECT plain, text::varchar, text::bytea, number::text, number::numeric, amount::text, uuid::text, list::text, document::text, bytes::text FROM doorward_canary.canaries
-- expression/encoded
SELECT plain, encode(bytes, 'hex'), encode(bytes, 'base64'), encode(bytes, 'escape'), convert_from(bytes, 'UTF8'), convert_to(text, 'UTF8') FROM doorward_canary.canaries
-- expression/turned
SELECT plain, reverse(text), upper(text), lower(text), text || '!', concat(text, number), translate(text, '-', '+') FROM doorward_canary.canaries
-- expression/quoted
SELECT plain, quote_literal(text), quote_ident(text), format('%s %L', text, number), to_char(number, '9999999999999999') FROM doorward_canary.canaries
-- expression/pieces
SELECT plain, string_to_array(text, NULL), regexp_split_to_array(text, '-'), left(text, 30), substr(long, 4001) FROM doorward_canary.canaries
-- expression/matched
SELECT plain, regexp_replace(text, 'x', 'y'), regexp_matches(text, '(.*)') FROM doorward_canary.canaries
-- expression/arithmetic
SELECT plain, number + 0, amount * 1, -number, number::numeric / 1 FROM doorward_canary.canaries
-- expression/json
SELECT plain, document->>'note', document#>>'{note}', to_jsonb(text), jsonb_build_object('a', text), to_json(c) FROM doorward_canary.canaries c
-- expression/json-rows
SELECT plain, e.* FROM doorward_canary.canaries, LATERAL jsonb_each_text(document) AS e
-- expression/unnested
SELECT plain, unnest(list) FROM doorward_canary.canaries
-- expression/xml
SELECT plain, xmlelement(name a, text), xmlforest(text, number) FROM doorward_canary.canaries
-- expression/kept-whole
SELECT plain, long, length(long) FROM doorward_canary.canaries

-- aggregate/extremes
SELECT max(plain), min(text), max(text), max(number), sum(number) / count(*), avg(amount) FROM doorward_canary.canaries
-- aggregate/gathered
SELECT max(plain), string_agg(text, ','), array_agg(number), json_agg(c), xmlagg(xmlelement(name a, text)) FROM doorward_canary.canaries c
-- aggregate/ordered
SELECT max(plain), mode() WITHIN GROUP (ORDER BY text), percentile_disc(0.5) WITHIN GROUP (ORDER BY number) FROM doorward_canary.canaries
-- aggregate/grouped
SELECT max(plain), text, count(*) FROM doorward_canary.canaries GROUP BY text

-- error/integer
SELECT text::integer FROM doorward_canary.canaries
-- error/date
SELECT text::date FROM doorward_canary.canaries
-- error/json
SELECT text::json FROM doorward_canary.canaries
-- error/uuid
SELECT text::uuid FROM doorward_canary.canaries
-- error/numeric
SELECT text::numeric, number::smallint FROM doorward_canary.canaries
-- error/bytes
SELECT convert_from(bytes, 'EUC_JP')::inet FROM doorward_canary.canaries
-- error/array
SELECT text::integer[] FROM doorward_canary.canaries
-- error/pattern
SELECT 'a' ~ ('[' || text) FROM doorward_canary.canaries
-- error/xml
SELECT xmlparse(DOCUMENT text) FROM doorward_canary.canaries

-- error-binary/integer binary
SELECT text::integer FROM doorward_canary.canaries

-- error-of-a-write/duplicate write
INSERT INTO doorward_canary.canaries SELECT * FROM doorward_canary.canaries LIMIT 1
-- error-of-a-write/not-null write
UPDATE doorward_canary.canaries SET plain = NULL WHERE id = 1
-- error-of-a-write/check write
UPDATE doorward_canary.canaries SET plain = 'never' WHERE id = 1

-- write/returning write
UPDATE doorward_canary.canaries SET plain = plain WHERE id = 1 RETURNING *
-- write/deleted write
DELETE FROM doorward_canary.canaries WHERE id = 1 RETURNING text, number
-- write/copied-elsewhere write
CREATE TEMP TABLE t1 AS @rows
SELECT * FROM t1
-- write/selected-into write
SELECT plain, text, number, amount, document, bytes, list, uuid, long INTO TEMP t2 FROM doorward_canary.canaries
SELECT * FROM t2
-- write/laundered write
UPDATE doorward_canary.canaries SET spare = text WHERE id = 2
SELECT spare FROM doorward_canary.canaries WHERE id = 2

-- function/told execute
SELECT doorward_canary.tell()
-- function/notice-and-error execute
SELECT doorward_canary.shout()
-- function/query-to-xml execute
SELECT query_to_xml('SELECT text FROM doorward_canary.canaries', true, false, '')
-- function/table-to-xml execute
SELECT table_to_xml('doorward_canary.canaries', true, false, '')
-- function/large-object execute
SELECT lo_get(lo_from_bytea(0, bytes)) FROM doorward_canary.canaries LIMIT 1
-- function/block execute
DO $$ BEGIN RAISE NOTICE '%', (SELECT max(text) FROM doorward_canary.canaries); END $$

-- notification/notify execute alone
LISTEN canaries
SELECT pg_notify('canaries', text) FROM doorward_canary.canaries LIMIT 1

-- parameter/application-name control alone
SELECT set_config('application_name', text, false) FROM doorward_canary.canaries LIMIT 1

-- plan/explain
EXPLAIN (VERBOSE) SELECT text FROM doorward_canary.canaries WHERE number > (SELECT min(number) FROM doorward_canary.canaries)
-- plan/analysed
EXPLAIN (ANALYZE, VERBOSE, FORMAT JSON) SELECT text FROM doorward_canary.canaries ORDER BY text

-- statistics/pg-stats
SELECT * FROM pg_stats WHERE schemaname = 'doorward_canary'
-- statistics/pg-statistic
SELECT stavalues1, stavalues2 FROM pg_statistic WHERE starelid = 'doorward_canary.canaries'::regclass
-- statistics/pg-stats-cast
SELECT most_common_vals::text, histogram_bounds::text FROM pg_stats WHERE schemaname = 'doorward_canary'
-- statistics/activity
SELECT query FROM pg_stat_activity
-- statistics/definitions
SELECT pg_get_viewdef('doorward_canary.seen'::regclass), pg_get_functiondef(oid) FROM pg_proc WHERE proname = 'tell'
