package pgtest

import (
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
)

// plants take their arguments as they come, where the server's own functions of the name
// take any: a name without a schema means them, to a session whose search_path has public.
const plants = `
create table public.plant (who name, what text);
create function public.planted(text) returns void language sql as 'insert into public.plant values (session_user, $1)';
create function public.format(text, text) returns text language plpgsql as $$
	begin perform public.planted('format(text)'); return pg_catalog.format($1, $2); end $$;
create function public.format(text, name) returns text language plpgsql as $$
	begin perform public.planted('format(name)'); return pg_catalog.format($1, $2); end $$;
create function public.format(text, name, name) returns text language plpgsql as $$
	begin perform public.planted('format(name, name)'); return pg_catalog.format($1, $2, $3); end $$;
create function public.format(text, text, text) returns text language plpgsql as $$
	begin perform public.planted('format(text, text)'); return pg_catalog.format($1, $2, $3); end $$;
grant usage on schema public to public;
grant insert on public.plant to public`

// PlantFunctions makes what somebody who may create functions in schema public would. It is
// seen by Planted when one of them is called.
func PlantFunctions(t testing.TB, pool *pgxpool.Pool) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), plants); err != nil {
		t.Fatal(err)
	}
}

// Planted tells how many calls there were.
func Planted(t testing.TB, pool *pgxpool.Pool) (n int) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), "select count(*) from public.plant").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
