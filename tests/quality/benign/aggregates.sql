-- Aggregates over what is not labelled, beside others over what is.

--> count
select count(*) from customers;

--> country n average
select country, count(*) as n, avg(score) as average from customers group by country order by country;

--> country n last*
select country, count(*) as n, max(email) as last from customers group by country order by country;

--> state n total min max
select state, count(*) as n, sum(total) as total, min(total), max(total) from orders group by state order by state;

--> department n pay*
select department, count(*) as n, sum(salary) as pay from employees group by department order by department;

--> title people mean*
select title, string_agg(name, ', ' order by id) as people, avg(salary) as mean from employees group by title order by title;

--> country names
select country, array_agg(name order by id) as names from customers group by country order by country;

--> country names mails*
select country, array_agg(name order by id) as names, array_agg(email order by id) as mails from customers group by country order by country;

--> state shown
select state, json_agg(json_build_object('id', id, 'total', total) order by id) as shown from orders where id < 20 group by state order by state;

--> state ids
select state, jsonb_object_agg(id, number) as ids from orders where id < 12 group by state order by state;

--> all_active any_active
select bool_and(active) as all_active, bool_or(active) as any_active from customers;

--> middle p90
select percentile_cont(0.5) within group (order by total) as middle, percentile_disc(array[0.5, 0.9]) within group (order by total) as p90 from orders;

--> common
select mode() within group (order by country) as common from customers;

--> paid other
select count(*) filter (where state = 'paid') as paid, sum(total) filter (where state <> 'paid') as other from orders;

--> country tier n
select country, tier, count(*) as n from customers group by rollup (country, tier) order by country nulls last, tier nulls last;

--> country tier grouping n
select country, tier, grouping(country, tier), count(*) as n from customers group by cube (country, tier) order by 1 nulls last, 2 nulls last, 3;

--> state coupon n
select state, coupon, count(*) as n from orders group by grouping sets ((state), (coupon), ()) order by 1 nulls last, 2 nulls last, 3;

--> country n
select country, count(*) as n from customers group by country having count(*) > 7 and avg(score) > 10 order by n desc, country;

--> deviation variance corr slope
select stddev(total)::numeric(12, 4) as deviation, variance(total)::numeric(16, 4), corr(total::float8, id)::numeric(8, 6), regr_slope(total::float8, id)::numeric(8, 6) as slope from orders;

--> month n customers
select date_trunc('month', placed)::date as month, count(*) as n, count(distinct customer) as customers from orders group by 1 order by 1;

--> bits most
select bit_or(stock) as bits, max(price) as most from products;

--> words
select count(distinct lower(split_part(name, ' ', 1))) as words from products;

--> n mails*?
select count(*) as n, count(email) as mails from customers;

--> ranges
select range_agg(member) as ranges from customers;

--> first last
select min(signup) as first, max(signup) as last from customers;

--> tag n
select tag, count(*) as n from customers, unnest(tags) as tag group by tag order by tag;

--> lang dark n
select profile ->> 'lang' as lang, (profile #>> '{theme,dark}')::boolean as dark, count(*) as n from customers group by 1, 2 order by 1, 2;

--> name brand n
select c.name, k.brand, count(o.id) as n from cards k join customers c on c.id = k.customer left join orders o on o.customer = c.id group by c.id, k.id order by c.id, k.id;

--> total
--$ 2024-02-01 | 2024-03-01
select sum(total) as total from orders where placed >= $1::timestamptz and placed < $2::timestamptz;

--> width_bucket n low high
select width_bucket(total, 0, 700, 7), count(*) as n, min(total) as low, max(total) as high from orders group by 1 order by 1;
