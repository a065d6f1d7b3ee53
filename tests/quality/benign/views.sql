-- Views, through their definitions; materialised views; inheritance; partitions.

--> id name country tier score signup
select * from customer_public order by id;

--> id name email* phone* country
select * from customer_contact order by id;

--> name country id
select name, country, id from customer_contact order by id;

--> id number state placed customer country lines worth
select * from order_summary order by id;

--> id number worth address*
select id, number, worth, address from order_delivery order by id;

--> id number state placed customer country lines worth
select id, number, state, placed, customer, country, lines, worth from order_delivery order by id;

--> month state orders total
select * from revenue order by month, state;

--> brand n latest
select * from card_brands order by brand;

--> id name manager depth salary*
select * from staff order by id;

--> id name manager depth
select id, name, manager, depth from staff order by id;

--> id name sku sold worth
select * from product_sales order by id;

--> id country orders total
select id, country, orders, total from customer_totals order by id;

--> id email* country orders total
select * from customer_totals order by id;

--> country total
select country, sum(total) as total from customer_totals group by country order by country;

--> customer n
select s.customer, count(*) as n from order_summary s join customer_contact c on c.name = s.customer group by s.customer order by 1;

--> id name since
select * from only persons order by id;

--> id name since
select * from persons order by id;

--> id name since diagnosis* ward
select * from patients order by id;

--> id name ward
select id, name, ward from patients order by id;

--> ward n
select ward, count(*) as n from patients group by ward order by ward;

--> id at kind customer ip* payload line
select * from events order by id;

--> id kind payload
select id, kind, payload from events_1 order by id;

--> id ip* line
select id, ip, line from events_2 order by id;

--> part n
select tableoid::regclass::text as part, count(*) as n from events group by 1 order by 1;

--> month n
select date_trunc('month', at) as month, count(*) as n from events where at < '2024-03-01' group by 1 order by 1;

--> table_name view_definition
select table_name, view_definition from information_schema.views where table_schema = 'public' order by 1;

--> matviewname ispopulated
select matviewname, ispopulated from pg_matviews order by 1;

--> name worth
--$ 10
select name, worth from product_sales where sold > $1 order by worth desc, name;
