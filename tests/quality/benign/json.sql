-- JSON and jsonb: documents of ordinary columns, and documents made of labelled ones beside them.

--> id lang dark
select id, profile ->> 'lang' as lang, profile -> 'theme' -> 'dark' as dark from customers order by id;

--> id profile
select id, profile from customers order by id;

--> id settings
select id, settings from customers order by id;

--> id third ref
select id, profile #> '{seen,2}' as third, profile #>> '{ref}' as ref from customers order by id;

--> id has both
select id, profile ? 'lang' as has, profile ?& array['lang', 'ref'] as both from customers where profile @> '{"lang": "de"}' order by id;

--> key value
select e.key, value from customers, jsonb_each(profile) e where id = 3 order by 1;

--> id key value
select id, e.key, e.value from customers cross join lateral json_each_text(settings) e order by 1, 2;

--> id n
select id, n from products, jsonb_array_elements(details -> 'parts') p (n) order by id, n ->> 'no';

--> id no n
select p.id, x.no, x.n from products p, jsonb_to_recordset(p.details -> 'parts') as x (no text, n int) order by 1, 2;

--> id colour weight
select id, r.colour, r.weight from products, jsonb_to_record(details) as r (colour text, weight numeric) order by id;

--> id document
select id, json_build_object('id', id, 'name', name, 'since', signup) as document from customers order by id;

--> id document* name
select id, json_build_array(id, email) as document, name from customers order by id;

--> id row* country
select id, to_jsonb(c) as row, country from customers c order by id limit 10;

--> id row
select o.id, row_to_json(x) as row from orders o, lateral (select o.number, o.state, o.total) x order by o.id;

--> customers
select json_agg(x order by x.id) as customers from (select id, name, tier from customers) x;

--> id changed
select id, jsonb_set(profile, '{theme,size}', '99') || '{"more": true}' as changed from customers order by id;

--> id without
select id, profile - 'seen' - 'ref' as without from customers order by id;

--> id pretty
select id, jsonb_pretty(details) as pretty from products where id < 5 order by id;

--> id path exists
select id, jsonb_path_query_array(profile, '$.seen[*] ? (@ > 20)') as path, profile @? '$.theme.dark' as exists from customers order by id;

--> id part
select id, jsonb_path_query(details, '$.parts[*].no') as part from products order by id, 2;

--> id length type
select id, jsonb_array_length(profile -> 'seen') as length, jsonb_typeof(profile -> 'theme') as type from customers order by id;

--> keys
select distinct jsonb_object_keys(payload) as keys from events order by 1;

--> id trace ms
select id, payload ->> 'trace' as trace, (payload ->> 'ms')::numeric as ms from events order by id;

--> id payload ip*
select id, payload, ip from events order by id limit 15;

--> state by_coupon
select state, jsonb_object_agg(coalesce(coupon, '-'), n order by coupon) as by_coupon from (select state, coupon, count(*) as n from orders group by 1, 2) x group by state order by state;

--> tree
select jsonb_build_object('name', c.name, 'children', (select jsonb_agg(d.name order by d.id) from categories d where d.parent = c.id)) as tree from categories c order by c.id;

--> id parcel by
select id, shipping ->> 'parcel' as parcel, shipping ->> 'by' as by from orders order by id;

--> id shipping
--$ {"by": "bike"}
select id, shipping from orders where shipping @> $1::jsonb order by id;

--> a b c
select '{"a": [1, 2, {"b": null}]}'::jsonb as a, '[1, "two"]'::json as b, to_json(timestamp '2024-02-03 04:05:06') as c;

--> id list
select id, array_to_json(tags) as list from customers order by id;
