-- COPY TO STDOUT, in its formats.

--> id name country
copy (select id, name, country from customers order by id) to stdout;

--> id name email* country
copy (select id, name, email, country from customers order by id) to stdout;

--> id name budget opened
copy departments to stdout;

--> order_id line product quantity price
copy items to stdout with (format csv, header);

--> id name email*
copy (select id, name, email from customers order by id) to stdout with (format csv);

--> id customer pan* brand expires
copy cards to stdout with (format csv, delimiter ';');

--> id brand
copy cards (id, brand) to stdout (format csv, force_quote *);

--> id digest
copy (select id, digest from products order by id) to stdout (format binary);

--> id name price stock
copy (select id, name, price, stock from products order by id) to stdout (format binary);

--> day sensor value raw n
copy measures to stdout (format binary);

--> id title pages digest seen
copy (select id, title, pages, digest, seen from documents order by id) to stdout;

--> id line
copy (select id, line from events order by id) to stdout with (format text, delimiter '|');

--> id name since diagnosis* ward
copy patients to stdout;

--> id kind ip* payload
copy (select id, kind, ip, payload from events order by id) to stdout (format csv, quote '''');

--> country n
copy (select country, count(*) as n from customers group by 1 order by 1) to stdout (format csv, header true, null 'none');

--> id worth
copy (select id, worth from order_summary order by id) to stdout;

--> id name sku sold worth
copy (select * from product_sales order by id) to stdout (format csv);

--> id profile tags
copy (select id, profile, tags from customers order by id) to stdout;

--> id profile tags
copy (select id, profile, tags from customers order by id) to stdout (format binary);

--> id state
copy (update orders set state = 'open' where id < 4 returning id, state) to stdout;
