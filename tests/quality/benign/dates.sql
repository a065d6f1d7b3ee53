-- Dates, times, intervals, and ranges of them.

--> id placed day
select id, placed, placed::date as day from orders order by id;

--> id day born* 
select id, signup::date as day, born from customers order by id;

--> id born* member_for
select id, born, age(timestamptz '2024-06-01', signup) as member_for from customers order by id;

--> year week n
select extract(isoyear from placed)::int as year, extract(week from placed)::int as week, count(*) as n from orders group by 1, 2 order by 1, 2;

--> id text
select id, to_char(placed, 'YYYY-MM-DD"T"HH24:MI:SS.MSOF') as text from orders order by id;

--> id epoch
select id, extract(epoch from placed) as epoch from orders order by id;

--> id epoch
select id, (extract(epoch from at) * 1000000)::bigint as epoch from events order by id;

--> id packed took
select id, packed, took from orders order by id;

--> id due late
select id, placed + interval '14 days' as due, placed + took > timestamptz '2024-05-01' as late from orders order by id;

--> id local
select id, placed at time zone 'Europe/Berlin' as local from orders order by id;

--> day n
select d::date as day, count(o.id) as n from generate_series(timestamptz '2024-01-01', '2024-01-31', '1 day') d left join orders o on o.placed >= d and o.placed < d + interval '1 day' group by d order by d;

--> id member in_2024
select id, member, member && daterange('2024-02-01', '2024-02-15') as in_2024 from customers order by id;

--> id lower upper
select id, lower(member), upper(member) from customers order by id;

--> id name hired years
select id, name, hired, extract(year from age(date '2024-06-01', hired)) as years from employees order by id;

--> name opened
select name, opened from departments order by opened nulls last;

--> id seen
select id, seen from documents order by id;

--> quarter total
select to_char(date_trunc('quarter', placed), 'YYYY "Q"Q') as quarter, sum(total) as total from orders group by date_trunc('quarter', placed) order by 1;

--> hour n
select extract(hour from placed at time zone 'UTC') as hour, count(*) as n from orders group by 1 order by 1;

--> d t ts i
select date '2024-02-29' as d, time '23:59:59.123' as t, timestamp '2024-02-29 12:00' as ts, interval '1 year 2 mons 3 days 04:05:06' as i;

--> id bin
select id, date_bin('15 minutes', placed, timestamptz '2024-01-01') as bin from orders order by id;

--> id number
--$ 2024-03-01 00:00:00+00
select id, number from orders where placed < $1::timestamptz order by placed desc limit 20;

--> id expires pan*
select id, expires, pan from cards where expires between date '2027-02-01' and date '2028-01-01' order by id;

--> justified overlap made
select justify_interval(interval '40 days 30 hours') as justified, (date '2024-01-01', date '2024-02-01') overlaps (date '2024-01-15', interval '1 month') as overlap, make_date(2024, 2, 29) as made;

--> infinite early
select 'infinity'::timestamptz as infinite, date '0044-03-15 BC' as early;
