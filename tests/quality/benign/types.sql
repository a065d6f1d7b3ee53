-- Types that clients take in binary: numbers, bytes, ranges, composites, enumerations, networks, geometry.

--> day sensor value raw n
select * from measures order by day, sensor;

--> id digest
select id, digest from products order by id;

--> id digest pages
select id, digest, pages from documents order by id;

--> id spot bits net price
select id, spot, bits, net, price from documents order by id;

--> id scan* digest body*
select id, scan, digest, body from documents order by id;

--> id tier country
select id, tier, country from customers order by id;

--> id home* tier
select id, home, tier from customers order by id;

--> id city*? floor*? name
select id, (home).city, (home).floor, name from customers order by id;

--> id pair
select id, row(id, name, tier) as pair from customers order by id;

--> id product
select o.order_id as id, p as product from items o join products p on p.id = o.product order by o.order_id, o.line limit 15;

--> id d
select id, d from departments d order by id;

--> small whole big real double exact
select 1::smallint as small, -5 as whole, 9000000000 as big, 1.5::real as real, 'NaN'::float8 as double, 123456789012345678901234567890.123::numeric as exact;

--> yes no nothing
select true as yes, false as no, null::int as nothing;

--> a b c d
select int4range(1, 10) as a, numrange(1.5, null) as b, '{[1,2),[5,8)}'::int4multirange as c, tsrange('2024-01-01', '2024-02-01') as d;

--> a b c
select '\xdeadbeef'::bytea as a, ''::bytea as b, decode('AAECAw==', 'base64') as c;

--> a b c d
select point(1, 2) as a, box '((0,0),(1,1))' as b, circle '<(0,0),5>' as c, polygon '((0,0),(1,1),(1,0))' as d;

--> a b c
select inet '192.168.0.1/24' as a, cidr '10.0.0.0/8' as b, macaddr '08:00:2b:01:02:03' as c;

--> a b c d
select 'public.customers'::regclass as a, 'now()'::regprocedure as b, 'int4'::regtype as c, 16384::oid as d;

--> a b
select b'10101'::bit(5) as a, b'1'::varbit as b;

--> a b
select 12.34::money as a, '0/16B3748'::pg_lsn as b;

--> ctid id
select ctid, id from departments order by id;

--> n text c v
select 'x'::name as n, 'y'::text, 'z'::char(3) as c, 'w'::varchar(9) as v;

--> id raw
--$ 100.5
select sensor as id, raw from measures where raw > $1::numeric order by day, sensor;

--> day n
--$ 2024-03-05 | 2
select day, n from measures where day > $1::date and sensor = $2::int order by day;

--> id key
--$ 1 | 2
select id, key from customers where id in ($1::int, $2::int) order by id;

--> log power root round trunc sign
select ln(2)::float8 as log, power(2, 10) as power, sqrt(2::float8) as root, round(2.567, 1), trunc(-2.5), sign(-3);
