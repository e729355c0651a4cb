-- The start of a query, which other files continue. $1: a view.
-- reached: the objects that the view depends on, through other views too; of a relation, one row for each column (number,
-- 0 for the relation itself). is_named: the view itself names the object. reader: the role that reads it, null for the
-- role that reads the view $1. A view reads with its owner's rights, unless it is declared as security_invoker.
with recursive reached (classid, objid, number, is_named, reader) as (
    select d.refclassid, d.refobjid, d.refobjsubid, true, null::oid
      from pg_rewrite r
      join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
     where r.ev_class = $1::regclass and d.refobjid <> r.ev_class
    union
    select d.refclassid, d.refobjid, d.refobjsubid, false,
           case when (select option_value::boolean from pg_options_to_table(c.reloptions)
                       where option_name = 'security_invoker') then reader else c.relowner end
      from reached
      join pg_class c on reached.classid = 'pg_class'::regclass and c.oid = reached.objid and c.relkind = 'v'
      join pg_rewrite r on r.ev_class = c.oid
      join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refobjid <> c.oid
)
