-- Joins: what stands in one table says nothing of the columns of another.

--> id name number total
select c.id, c.name, o.number, o.total from customers c join orders o on o.customer = c.id order by o.id;

--> id name email* number
select o.id, c.name, c.email, o.number from customers c join orders o on o.customer = c.id order by o.id;

--> id address* name country
select o.id, o.address, c.name, c.country from orders o left join customers c on c.id = o.customer order by o.id;

--> number line product quantity price
select o.number, i.line, p.name as product, i.quantity, i.price
  from orders o join items i on i.order_id = o.id join products p on p.id = i.product order by o.id, i.line;

--> id customer placed state total coupon number address* shipping packed took line
select o.*, i.line from orders o join items i on i.order_id = o.id order by o.id, i.line limit 40;

--> order_id line product quantity price name
select i.*, c.name from items i join orders o on o.id = i.order_id join customers c on c.id = o.customer order by 1, 2 limit 60;

--> id pan* brand expires name
select k.id, k.pan, k.brand, k.expires, c.name from cards k, customers c where c.id = k.customer order by k.id;

--> name boss
select e.name, b.name as boss from employees e left join employees b on b.id = e.manager order by e.id;

--> name salary* boss boss_salary*
select e.name, e.salary, b.name as boss, b.salary as boss_salary from employees e left join employees b on b.id = e.manager order by e.id;

--> department name title
select d.name as department, e.name, e.title from departments d full join employees e on e.department = d.id order by d.id, e.id;

--> d s
select d.name as d, s.s from departments d cross join (values ('x'), ('y')) s (s) order by 1, 2;

--> id name email* pan* brand
select id, name, email, pan, brand from customers join cards using (id) order by id;

--> id name email* ssn* phone* born* home* country tier score tags profile settings visits signup member key active notes contact* initial customer pan* brand expires
select * from customers join cards using (id) order by id;

--> name parent
select c.name, p.name as parent from categories c left join categories p on p.id = c.parent order by c.id;

--> id name sold
select p.id, p.name, s.sold from products p natural join (select id, sold from product_sales) s order by p.id;

--> id last
select c.id, l.last from customers c left join lateral (
    select o.number as last from orders o where o.customer = c.id order by o.placed desc limit 1) l on true order by c.id;

--> id address* number
select c.id, l.address, l.number from customers c cross join lateral (
    select o.address, o.number from orders o where o.customer = c.id order by o.id limit 1) l order by c.id;

--> id name part n
select p.id, p.name, x.no as part, x.n from products p, jsonb_to_recordset(p.details -> 'parts') as x (no text, n int) order by 1, 3;

--> m name number
select m, name, number from (select c.id as m, c.name, o.number from customers c join orders o on o.customer = c.id) t order by number;

--> id other
select a.id, b.id as other from customers a join customers b on a.country = b.country and a.id < b.id where a.id < 6 order by 1, 2;

--> id kind name
select e.id, e.kind, c.name from events e join customers c on c.id = e.customer order by e.id;

--> id ip* name
select e.id, e.ip, c.name from events e join customers c on c.id = e.customer order by e.id limit 30;

--> name sku quantity
select c.name, p.sku, sum(i.quantity) as quantity from customers c join orders o on o.customer = c.id join items i on i.order_id = o.id
  join products p on p.id = i.product group by c.id, c.name, p.sku order by c.id, p.sku limit 50;

--> name orders worth
select c.name, count(distinct o.id) as orders, coalesce(sum(i.quantity * i.price), 0) as worth
  from customers c left join orders o on o.customer = c.id left join items i on i.order_id = o.id group by c.id order by c.id;

--> title pages brand
select d.title, d.pages, k.brand from documents d join cards k on k.id = d.id order by d.id;

--> id title body* brand pan*
select d.id, d.title, d.body, k.brand, k.pan from documents d join cards k on k.id = d.id order by d.id;

--> j.id name
select t.id as "j.id", t.name from (categories x join departments y on x.id = y.id) as t (id, parent, name, id2, name2) order by t.id;

--> id name
select x.id, x.name from customers c join orders o on o.customer = c.id join customers x on x.id = c.id order by o.id;

--> merged name
--$ DE
select id as merged, name from customers c where country = $1 and exists (select from orders o where o.customer = c.id) order by id;
