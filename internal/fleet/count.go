package fleet

// SQL counts the backends of the role that runs it. Its parameter is this environment's id, and its one row is read into [Count.Row].
//
// It reads pg_stat_get_activity, which is below pg_stat_activity, because the view's joins with the names of roles and databases cost and are not
// needed. Its parallel workers and the role's own background workers do not count, as they do not for CONNECTION LIMIT. A role sees the
// application_name of its own backends without any grant.
const SQL = `select
	pg_catalog.count(id)::int4,
	pg_catalog.count(id) filter (where age < greatest(8.75, 0.0875 * members))::int4,
	coalesce(pg_catalog.sum(backends) filter (where id = $1), 0)::int4,
	coalesce(pg_catalog.max(age) filter (where id = $1), 0)::int4,
	coalesce(pg_catalog.sum(backends) filter (where id is null), 0)::int4,
	(select rolconnlimit from pg_catalog.pg_roles where rolname = session_user)::int4
from (
	select id, backends, age, pg_catalog.count(id) over () as members
	from (
		select case when application_name like 'lmipool/%/%' then pg_catalog.split_part(application_name, '/', 2) end as id,
			pg_catalog.count(*) as backends,
			extract(epoch from pg_catalog.clock_timestamp() - pg_catalog.min(backend_start)) as age
		from pg_catalog.pg_stat_get_activity(null)
		where usesysid = (select oid from pg_catalog.pg_roles where rolname = session_user) and backend_type = 'client backend'
		group by 1
	) as member
) as fleet`

// Count is what one run of [SQL] saw.
type Count struct {
	Members   int32 // environments that have a connection; this one is among them
	Young     int32 // members whose oldest backend is younger than [Lease]; other members may not have counted them yet
	Mine      int32 // this environment's backends
	Age       int32 // the age of this environment's oldest backend in seconds
	Others    int32 // backends of the role that are not lmipool's
	RoleLimit int32 // the role's CONNECTION LIMIT; -1 if it has none
}

// Row returns where the columns of [SQL] are scanned to, in their order.
func (c *Count) Row() []any {
	return []any{&c.Members, &c.Young, &c.Mine, &c.Age, &c.Others, &c.RoleLimit}
}
