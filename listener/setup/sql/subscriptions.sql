-- $1: tables, qualified and quoted. Returns the subscriptions of logical replication that write them.
-- Apply workers fire row-level triggers only, whatever is enabled (PostgreSQL's manual, "Logical Replication",
-- "Architecture").
select s.subname as subscription, r.srrelid::regclass::text as table
  from pg_subscription_rel r
  join pg_subscription s on s.oid = r.srsubid
 where r.srrelid = any (array(select to_regclass(name)::oid from unnest($1::text[]) as name))
 order by 1, 2
