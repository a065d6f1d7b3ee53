-- One table, labelled and ordinary columns side by side.

--> id name
select id, name from customers order by id;

--> id name email*
select id, name, email from customers order by id;

--> email* id ssn* country
select email, id, ssn, country from customers order by id;

--> id name email* ssn* phone* born* home* country tier score tags profile settings visits signup member key active notes contact* initial
select * from customers order by id;

--> id name email* ssn* phone* born* home* country tier score tags profile settings visits signup member key active notes contact* initial
table customers order by id;

--> customer since
select name as customer, signup as since from customers order by id limit 10;

--> id contact* initial
select id, contact, initial from customers order by 1;

--> id notes
select id, notes from customers where notes is not null order by id;

--> id tier score active
select c.id, c.tier, c.score, c.active from public.customers as c where c.active and c.score > 20 order by c.score desc, c.id;

--> a b c*
select * from (select id, name, email from customers order by id) as x (a, b, c);

--> id customer pan* brand expires
select * from cards order by id;

--> id brand
select id, brand from cards where expires < '2028-01-01' order by id offset 2 fetch first 5 rows only;

--> id name salary* passport*
select id, name, salary, passport from employees order by id;

--> id name title skills rating hired
select id, name, title, skills, rating, hired from employees order by id;

--> tableoid id
select tableoid::regclass, id from employees order by id;

--> id address* number
select id, address, number from orders order by id;

--> id number state total coupon placed
select id, number, state, total, coupon, placed from orders order by id;

--> id title body* pages
select id, title, body, pages from documents order by id;

--> id digest scan*
select id, digest, scan from documents order by id;

--> id name double
select id, upper(name) as name, score * 2 as double from customers order by id;

--> id "whole name"
select id, name || ' (' || country || ')' as "whole name" from customers order by id;

--> mail* id
select lower(email) as mail, id from customers order by id;

--> id size
select id, case when score < 50 then 'small' when score < 100 then 'middle' else 'large' end as size from customers order by id;

--> id who* shown
select id, coalesce(phone, email) as who, coalesce(notes, '-') as shown from customers order by id;

--> distinct_country
select distinct country as distinct_country from customers order by 1;

--> country id name
select distinct on (country) country, id, name from customers order by country, id;

--> ?column? ?column?
select 1, 'ORD-2024-000123';

--> n version_like
select 42 as n, '15.0.2' as version_like;

--> id id name
select id, id, name from customers where id in (1, 2, 3) order by id;

--> id tier
select id, tier from customers where tier in ('plus', 'pro') and country <> 'US' and name like 'Client 1%' order by id;

--> id line
select id, line from events order by id;

--> id at kind customer payload
select id, at, kind, customer, payload from events order by id;

--> id ip* kind
select id, ip, kind from events order by id limit 20;

--> id sku barcode release
select id, sku, barcode, release from products order by id;

--> id sku name category price stock barcode details sizes words digest release
select * from products order by id;

--> id number
select id, number from orders tablesample system (100) order by id;

--> id state
select id, state from orders where total between 100 and 400 order by id for update;

--> id name
select id, name from customers where id = 3 for share of customers;

--> id coupon
--$ 30 | SAVE5
select id, coupon from orders where id < $1 and coupon = $2 order by id;

--> id email* name
--$ 7
select id, email, name from customers where id = $1;
