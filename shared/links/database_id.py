"""The identity of a database, by which listeners and gateways know that they share one."""

# A restart and a physical failover keep it; a copy, a restored dump and pg_upgrade change it.
DATABASE_ID_SQL = """\
select (select system_identifier from pg_catalog.pg_control_system())::pg_catalog.text || '.'
       || (select oid from pg_catalog.pg_database
            where datname = pg_catalog.current_database())::pg_catalog.text"""
