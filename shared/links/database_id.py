"""Which database of which cluster a session is in, as listeners and gateways compare it."""

# A restart and a physical failover keep it; a copy, a restored dump and pg_upgrade do not.
DATABASE_ID_SQL = """\
select (select system_identifier from pg_catalog.pg_control_system())::pg_catalog.text || '.'
       || (select oid from pg_catalog.pg_database
            where datname = pg_catalog.current_database())::pg_catalog.text"""
