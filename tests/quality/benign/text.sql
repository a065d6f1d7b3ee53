-- Functions over text, and texts that look like more than they are.

--> id upper length
select id, upper(name), length(name) from customers order by id;

--> id first rest*
select id, split_part(name, ' ', 1) as first, split_part(email, '@', 1) as rest from customers order by id;

--> id slug
select id, lower(regexp_replace(name, '[^A-Za-z0-9]+', '-', 'g')) as slug from products order by id;

--> id digest
select id, md5(name || id) as digest from customers order by id;

--> id digest
select id, encode(sha256(name::bytea), 'hex') as digest from customers order by id;

--> id digest
select id, encode(digest, 'base64') as digest from products order by id;

--> id key
select id, key from customers order by id;

--> id padded reversed
select id, lpad(id::text, 8, '0') as padded, reverse(name) as reversed from customers order by id;

--> id line
select id, line from events where line like '%INFO%' order by id;

--> id commit took
select id, substring(line from 'commit ([0-9a-f]+)') as commit, substring(line from 'took (\d+)ms')::int as took from events order by id;

--> id matched
select id, regexp_matches(number, '(\w+)-(\d+)') as matched from orders order by id;

--> word n
select word, count(*) as n from documents, regexp_split_to_table(lower(title), '\s+') word group by word order by word;

--> id said
select id, format('%s ordered %s for %s', customer, number, total) as said from orders order by id;

--> id joined
select id, concat_ws(', ', name, country, tier::text) as joined from customers order by id;

--> id found rank
select id, words @@ to_tsquery('simple', 'tool & 7') as found, ts_rank(words, to_tsquery('simple', 'good')) as rank from products order by id;

--> id words
select id, words from products order by id;

--> id headline
select id, ts_headline('simple', title, to_tsquery('simple', 'report')) as headline from documents order by id;

--> id quoted trimmed
select id, quote_literal(name) as quoted, trim(both 'C' from name) as trimmed from customers order by id;

--> id translated start
select id, translate(sku, 'P-', 'Q_') as translated, position('-' in sku) as start from products order by id;

--> id like ilike similar
select id, name like '%1%' as like, name ilike 'CLIENT%' as ilike, name similar to '%(2|3)' as similar from customers order by id;

--> n
select unnest(array['4006381333931', '978-3-16-148410-0', '9781861972712', '0012345678905', '1Z999AA10123456784', '00340434292135100186']) as n;

--> n
select unnest(array['v1.2.3', '10.4.18-MariaDB', '2.0.0-rc.1+build.5114', '2024.11.0', '1.0.0.0']) as n;

--> n
select unnest(array['2024-11-23T12:00:00.000Z', '20241123T120000Z', '1732363200', '1732363200123', '23/11/2024 12:00', '12:34:56.789']) as n;

--> n
select unnest(array['550e8400-e29b-41d4-a716-446655440000', '01ARZ3NDEKTSV4RRFFQ69G5FAV', '507f1f77bcf86cd799439011', '9007199254740993', 'cus_0042', 'order#100045']) as n;

--> n
select unnest(array['52.5200,13.4050', '48.8566 N 2.3522 E', '+1.5', '-273.15', '1,234,567.89', '1.234.567,89 EUR', '99.999%']) as n;

--> n
select unnest(array['select * from t where id = $1', 'for i in range(10): print(i)', 'git commit -m "fix"', '@Override public int f()', 'user@host:~$ ls', 'a@b']) as n;

--> n
select unnest(array['/api/v2/orders/100045?page=2&size=50', 'https://shop.example/p/saw-12', 's3://bucket/2024/11/23/part-00000.parquet', 'postgres://db.internal:5432/shop']) as n;

--> n
select unnest(array['invoice 2024-11-0042', 'room 12-34-56', 'model 555-0199-B', 'pages 123-45', 'score 3-2-4', 'EUR 1.234,00', 'case 12/345/6789']) as n;

--> n
select unnest(array['The password policy has changed.', 'Token expired', 'secret santa on Friday', 'the key is under the mat', 'call us', 'IBAN missing', 'card declined']) as n;

--> id title
--$ %v1%
select id, title from documents where title like $1 order by id;
