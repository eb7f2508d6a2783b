package goose_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/goose"
	"github.com/gapless/gapless/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func up(t testing.TB, c goose.Config) []goose.Status {
	t.Helper()
	done, err := goose.Up(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func exec(t testing.TB, pool *pgxpool.Pool, statement string, args ...any) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func value[T any](t testing.TB, pool *pgxpool.Pool, query string, args ...any) T {
	t.Helper()
	var v T
	if err := pool.QueryRow(t.Context(), query, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}

// fingerprint is every object that is not Postgres' own, as text: definition,
// privileges and comment, without what differs from one run to the next.
func fingerprint(t testing.TB, pool *pgxpool.Pool) []string {
	t.Helper()
	rows, err := pool.Query(t.Context(), `
		with ours as (select oid, nspname, nspacl from pg_namespace where nspname !~ '^(pg_|information_schema$|public$)')
		select 'schema ' || nspname || ' ' || coalesce(nspacl::text, '') from ours
		union all
		select format('relation %s %s %s %s %s %s', c.oid::regclass, c.relkind, c.reloptions, c.relacl, pg_get_expr(c.relpartbound, c.oid), obj_description(c.oid, 'pg_class'))
		from pg_class c join ours n on n.oid = c.relnamespace
		union all
		select format('column %s %s %s %s %s %s %s %s', c.oid::regclass, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid), a.attacl, col_description(c.oid, a.attnum))
		from pg_attribute a join pg_class c on c.oid = a.attrelid join ours n on n.oid = c.relnamespace left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
		where a.attnum > 0 and c.relkind in ('r', 'p', 'v')
		union all
		select format('constraint %s %s %s', conrelid::regclass, conname, pg_get_constraintdef(c.oid)) from pg_constraint c join ours n on n.oid = c.connamespace
		union all
		select 'index ' || pg_get_indexdef(i.indexrelid) from pg_index i join pg_class c on c.oid = i.indexrelid join ours n on n.oid = c.relnamespace
		union all
		select format('function %s %s %s', pg_get_functiondef(p.oid), p.proacl, obj_description(p.oid, 'pg_proc')) from pg_proc p join ours n on n.oid = p.pronamespace
		union all
		select format('view %s %s', c.oid::regclass, pg_get_viewdef(c.oid)) from pg_class c join ours n on n.oid = c.relnamespace where c.relkind = 'v'
		union all
		select format('publication %s %s %s %s %s %s', pubname, pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot) from pg_publication
		union all
		select format('published %s %s', pubname, schemaname || '.' || tablename) from pg_publication_tables
		order by 1`)
	if err != nil {
		t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func differ(t testing.TB, got, want []string) {
	t.Helper()
	in := func(list []string) map[string]bool {
		m := map[string]bool{}
		for _, s := range list {
			m[s] = true
		}
		return m
	}
	g, w := in(got), in(want)
	for s := range w {
		if !g[s] {
			t.Errorf("missing: %s", s)
		}
	}
	for s := range g {
		if !w[s] {
			t.Errorf("extra: %s", s)
		}
	}
}

// user makes a login that owns a new database and may do nothing else.
func user(t testing.TB, admin *pgxpool.Pool, name string) {
	t.Helper()
	exec(t, admin, "create role "+name+" login password 'secret' nosuperuser nocreaterole nocreatedb")
	exec(t, admin, "create database "+name+" owner "+name)
}

func open(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(context.WithoutCancel(t.Context()), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}
