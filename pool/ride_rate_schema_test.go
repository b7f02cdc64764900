package pool_test

// ordinarySchema is that of an ordinary shop: tables, views, policies, functions and triggers of its own.
const ordinarySchema = `
create type order_status as enum ('new', 'paid', 'sent', 'back');
create type money_amount as (amount numeric, currency text);
create domain email as text check (value ~ '^[^@]+@[^@]+$');
create domain positive as int check (value > 0);
create type span as range (subtype = numeric);
create table tenants (id int primary key, name text not null, settings jsonb not null default '{}', created_at timestamptz not null default now());
create table customers (id bigint generated always as identity primary key, tenant_id int references tenants, mail email, full_name varchar(200),
	tags text[] not null default '{}', attributes jsonb, born date, vip bool not null default false, created_at timestamptz not null default now(), updated_at timestamptz);
create table addresses (id bigint primary key, customer_id bigint references customers on delete cascade, street text, city text, zip char(8), country char(2), main bool);
create table categories (id int primary key, parent_id int references categories, name text, path text, sort positive);
create table products (id bigint primary key, category_id int references categories, sku varchar(40) unique, title text, body text, price numeric(12, 2), cost numeric,
	stock int, weight real, dims double precision[], search tsvector generated always as (to_tsvector('english', coalesce(title, '') || ' ' || coalesce(body, ''))) stored,
	attrs jsonb, available daterange, price_with_tax numeric generated always as (price * 1.19) stored);
create table orders (id bigint primary key, customer_id bigint references customers, status order_status not null default 'new', placed_at timestamptz, total numeric(12, 2),
	currency char(3), note text, ship_to money_amount, meta jsonb);
create table order_items (order_id bigint references orders, line smallint, product_id bigint references products, quantity positive, price numeric(12, 2), primary key (order_id, line));
create table payments (id uuid primary key, order_id bigint references orders, amount numeric, method text, at timestamptz, details json);
create table events (id bigint, kind text, at timestamptz not null, customer_id bigint, payload jsonb) partition by range (at);
create table events_2023 partition of events for values from ('2023-01-01') to ('2024-01-01');
create table events_2024 partition of events for values from ('2024-01-01') to ('2025-01-01');
create table sessions (token uuid primary key, customer_id bigint, ip inet, agent text, expires_at timestamptz, data bytea);
create table reviews (id bigint primary key, product_id bigint, customer_id bigint, stars smallint check (stars between 1 and 5), body text, at timestamp);
create table documents (id int primary key, tenant_id int, title text, body text, owner text, shared bool);
create table bookings (id int primary key, room int, during tstzrange, price span);
create table prices (product_id bigint, valid daterange, amount numeric);
create table jobs (id bigint primary key, queue text, state text, run_at timestamptz, attempts int, args jsonb, error text, last_run interval);
create table places (id int primary key, name text, at point, area box);
create table migrations (version bigint primary key, applied_at timestamptz);
create index on customers (lower(mail)); create index on customers using gin (tags); create index on products using gin (search); create index on products using gin (attrs jsonb_path_ops);
create index on orders (customer_id, placed_at desc); create index on orders (placed_at) where status <> 'back'; create index on bookings using gist (during);
create unique index on reviews (product_id, customer_id); create index on events (customer_id, at); create index on jobs (queue, run_at) where state = 'ready';
create statistics customers_stats (dependencies) on tenant_id, vip from customers;
create view active_customers as select c.id, c.full_name, c.mail, c.tenant_id from customers c where c.updated_at is null or c.updated_at > '2020-01-01';
create view order_totals as select o.id, o.customer_id, sum(i.quantity * i.price) as total, count(*) as lines from orders o join order_items i on i.order_id = o.id group by o.id, o.customer_id;
create view best_sellers as select p.id, p.title, coalesce(sum(i.quantity), 0) as sold from products p left join order_items i on i.product_id = p.id group by p.id order by sold desc limit 20;
create view latest_order as select distinct on (customer_id) customer_id, id, placed_at, status from orders order by customer_id, placed_at desc;
create view customer_summary as select ac.id, ac.full_name, t.total, rank() over (order by t.total desc nulls last) as place from active_customers ac
	left join (select customer_id, sum(total) as total from order_totals group by customer_id) t on t.customer_id = ac.id;
create materialized view daily_sales as select date_trunc('day', placed_at) as day, sum(total) as total from orders group by 1;
create function touch() returns trigger language plpgsql as $$ begin new.updated_at := now(); return new; end $$;
create function audit() returns trigger language plpgsql as $$ begin perform pg_notify('changes', tg_table_name); return null; end $$;
create function full_text(p products) returns text language sql stable as $$ select p.title || ' ' || p.body $$;
create function order_total(o bigint) returns numeric language sql stable as $$ select sum(quantity * price) from order_items where order_id = o $$;
create function next_job(q text) returns jobs language plpgsql as $$ declare j jobs; begin select * into j from jobs where queue = q limit 1 for update skip locked; return j; end $$;
create function slugify(t text) returns text language sql immutable as $$ select regexp_replace(lower(t), '[^a-z0-9]+', '-', 'g') $$;
create function tenant() returns int language sql stable as $$ select nullif(current_setting('app.tenant', true), '')::int $$;
create procedure close_day(d date) language plpgsql as $$ begin refresh materialized view daily_sales; end $$;
create trigger touch before update on customers for each row execute function touch();
create trigger audit after insert or update or delete on orders for each statement execute function audit();
alter table documents enable row level security;
create policy mine on documents using (owner = current_user or shared or tenant_id = nullif(current_setting('app.tenant', true), '')::int);
insert into tenants values (1, 'one', '{"plan": "pro"}'), (2, 'two', '{}');
insert into customers (tenant_id, mail, full_name, tags, attributes, born) select 1 + g % 2, 'u' || g || '@example.com', 'User ' || g, array['a', 'b'], '{"level": 3}', '1990-01-01' from generate_series(1, 20) g;
insert into categories values (1, null, 'all', '1', 1), (2, 1, 'books', '1.2', 2), (3, 2, 'novels', '1.2.3', 3);
insert into products (id, category_id, sku, title, body, price, cost, stock, attrs, available) select g, 1 + g % 3, 'sku' || g, 'Title ' || g, 'a quick brown fox', g * 1.5, g, g, '{"color": "red"}', '[2024-01-01,2024-12-31)' from generate_series(1, 20) g;
insert into orders select g, 1 + g % 20, 'paid', '2024-01-01'::timestamptz + g * interval '1 day', g * 10, 'EUR', null, (g, 'EUR')::money_amount, '{"source": "web"}' from generate_series(1, 40) g;
insert into order_items select g, 1, 1 + g % 20, 2, 5 from generate_series(1, 40) g;
insert into events select g, 'click', '2024-01-01'::timestamptz + g * interval '1 hour', 1 + g % 20, '{"page": "/"}' from generate_series(1, 50) g;
analyze;`

// ordinaryExtensions are what extensions add, where they are to be had.
var ordinaryExtensions = []struct{ name, schema string }{
	{"citext", "create table users (id int primary key, login citext unique); insert into users values (1, 'Ann')"},
	{"hstore", "create table things (id int primary key, props hstore); insert into things values (1, 'a=>1')"},
	{"pg_trgm", "create index on products using gin (title gin_trgm_ops)"},
	{"btree_gist", "create table shifts (who int, during tstzrange, exclude using gist (who with =, during with &&))"},
	{"ltree", "create table trees (id int primary key, path ltree); insert into trees values (1, 'a.b.c')"},
}
