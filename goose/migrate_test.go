package goose_test

import (
	"errors"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/goose"
	"github.com/gapless/gapless/internal/pgtest"
)

func TestUpDownUp(t *testing.T) {
	t.Parallel()
	db := pgtest.NewEmptyDB(t)
	pool := db.Pool(t)
	empty := fingerprint(t, pool)
	c := goose.Config{DatabaseURL: db.URL, Slot: db.SlotName("updown")}
	if done := up(t, c); len(done) == 0 {
		t.Fatal("nothing was applied")
	}
	first := fingerprint(t, pool)
	if done := up(t, c); len(done) != 0 {
		t.Errorf("a second Up applied %v", done)
	}
	if err := goose.Down(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	differ(t, fingerprint(t, pool), empty)
	if value[int](t, pool, "select count(*) from pg_replication_slots where slot_name = $1", c.Slot) != 0 {
		t.Error("the slot is still there")
	}
	if err := goose.Down(t.Context(), c); err != nil {
		t.Errorf("a second Down: %v", err)
	}
	up(t, c)
	differ(t, fingerprint(t, pool), first)
}

// Whoever may create functions in public would have them run by whoever migrates, if a
// name without a schema found them: they take their arguments as they are, and the server's
// own do not.
func TestFunctionsOfOthersAreNotRun(t *testing.T) {
	t.Parallel()
	db := pgtest.NewEmptyDB(t)
	pool := db.Pool(t)
	pgtest.PlantFunctions(t, pool)
	if _, err := pool.Exec(t.Context(), "select format('%s', 'x'::text)"); err != nil {
		t.Fatal(err)
	}
	if pgtest.Planted(t, pool) == 0 {
		t.Fatal("the plant is not found by a session like any other")
	}
	before := pgtest.Planted(t, pool)
	c := goose.Config{DatabaseURL: db.URL, Slot: db.SlotName("others")}
	up(t, c)
	if err := goose.Down(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if n := pgtest.Planted(t, pool); n != before {
		t.Errorf("%d calls of functions of others", n-before)
	}
}

// A publication of the name, made by hand: nothing is left half made.
func TestPublicationOfSomebodyElse(t *testing.T) {
	t.Parallel()
	db := pgtest.NewEmptyDB(t)
	pool := db.Pool(t)
	exec(t, pool, "create publication gapless")
	_, err := goose.Up(t.Context(), goose.Config{DatabaseURL: db.URL, NoSlot: true})
	if err == nil || !strings.Contains(err.Error(), "made by somebody else") {
		t.Errorf("got %v", err)
	}
	if value[bool](t, pool, "select to_regnamespace('gapless') is not null") {
		t.Error("a schema is left")
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	db := pgtest.NewEmptyDB(t)
	c := goose.Config{DatabaseURL: db.URL, NoSlot: true, Components: []string{"outbox"}}
	applied := func() (n int) {
		list, err := goose.List(t.Context(), goose.Config{DatabaseURL: db.URL})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range list {
			if s.Applied != (s.AppliedAt.Unix() > 0) {
				t.Errorf("%+v", s)
			}
			if s.Applied {
				n++
			}
		}
		return n
	}
	if n := applied(); n != 0 {
		t.Errorf("%d applied on an empty database", n)
	}
	if value[bool](t, db.Pool(t), "select to_regnamespace('gapless') is not null") {
		t.Error("List changed the database")
	}
	done := up(t, c)
	if n := applied(); n != len(done) {
		t.Errorf("%d applied, Up said %d", n, len(done))
	}
}

func TestComponents(t *testing.T) {
	t.Parallel()
	for _, component := range goose.Components()[1:] {
		t.Run(component, func(t *testing.T) {
			t.Parallel()
			db := pgtest.NewEmptyDB(t)
			pool := db.Pool(t)
			c := goose.Config{DatabaseURL: db.URL, Components: []string{component}, NoSlot: true}
			for _, s := range up(t, c) {
				if s.Component != component && s.Component != "core" {
					t.Errorf("applied %s of %s", s.Name, s.Component)
				}
			}
			alone := fingerprint(t, pool)
			all := goose.Config{DatabaseURL: db.URL, NoSlot: true}
			up(t, all) // the others may come later
			for _, other := range goose.Components()[1:] {
				if other != component {
					if err := goose.Down(t.Context(), goose.Config{DatabaseURL: db.URL, Components: []string{other}, NoSlot: true}); err != nil {
						t.Fatal(err)
					}
				}
			}
			differ(t, fingerprint(t, pool), alone)
			if err := goose.Down(t.Context(), all); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestConfigNamesEveryFault(t *testing.T) {
	t.Parallel()
	_, err := goose.Up(t.Context(), goose.Config{Components: []string{"outbox", "inbxo"}})
	for _, want := range []string{"DatabaseURL", `"inbxo"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not named in: %v", want, err)
		}
	}
}

func TestTwoUpsAtOnce(t *testing.T) {
	t.Parallel()
	db := pgtest.NewEmptyDB(t)
	c := goose.Config{DatabaseURL: db.URL, Slot: db.SlotName("both")}
	var group sync.WaitGroup
	errs, counts := make([]error, 3), make([]int, 3)
	for i := range errs {
		group.Go(func() {
			done, err := goose.Up(t.Context(), c)
			errs[i], counts[i] = err, len(done)
		})
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	list, err := goose.List(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if sum := counts[0] + counts[1] + counts[2]; sum != len(list) {
		t.Errorf("%v applied, want %d in all", counts, len(list))
	}
}

// What a DBA runs by hand leaves what Up leaves, and Up goes on from there.
func TestPrintEqualsUp(t *testing.T) {
	t.Parallel()
	want := pgtest.NewEmptyDB(t)
	up(t, goose.Config{DatabaseURL: want.URL, NoSlot: true})
	for name, apply := range map[string]func(t *testing.T, db *pgtest.DB, script, slot string){
		"pgx": func(t *testing.T, db *pgtest.DB, script, slot string) {
			schema, create, found := strings.Cut(script, "\n-- Outside every transaction")
			if !found {
				t.Fatal("the slot is not made outside of the transactions")
			}
			conn, err := pgx.Connect(t.Context(), db.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(t.Context())
			for _, part := range []string{schema, "-- " + create} {
				if _, err := conn.PgConn().Exec(t.Context(), part).ReadAll(); err != nil {
					t.Fatal(err)
				}
			}
		},
		"psql": func(t *testing.T, db *pgtest.DB, script, _ string) {
			psql, err := osexec.LookPath("psql")
			if err != nil {
				up(t, goose.Config{DatabaseURL: db.URL, NoSlot: true})
				return
			}
			file := filepath.Join(t.TempDir(), "schema.sql")
			if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := osexec.CommandContext(t.Context(), psql, "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname="+db.URL, "--file="+file).CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.NewEmptyDB(t)
			slot := db.SlotName("printed")
			var script strings.Builder
			if err := goose.Print(&script, goose.Config{Slot: slot}); err != nil {
				t.Fatal(err)
			}
			apply(t, db, script.String(), slot)
			differ(t, fingerprint(t, db.Pool(t)), fingerprint(t, want.Pool(t)))
			if done := up(t, goose.Config{DatabaseURL: db.URL, Slot: slot}); len(done) != 0 {
				t.Errorf("Up still applied %v", done)
			}
		})
	}
}

func TestPrintNoRoles(t *testing.T) {
	t.Parallel()
	var script strings.Builder
	if err := goose.Print(&script, goose.Config{NoRoles: true, NoSlot: true, Components: []string{"outbox"}}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(script.String(), "SET gapless.no_roles = 'on'") || strings.Contains(script.String(), "pg_create_logical_replication_slot") {
		t.Error("the script does not do what the flags say")
	}
	if strings.Contains(script.String(), "+goose") {
		t.Error("the script holds annotations of the migration tool")
	}
}

// A managed database: the role owns the database and can make no roles.
func TestNoRolesAsPlainOwner(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, nil)
	admin := open(t, server.SuperuserURL())
	user(t, admin, "plain")
	url := server.UserURL("plain", "secret", "plain")

	_, err := goose.Up(t.Context(), goose.Config{DatabaseURL: url, NoSlot: true})
	if err == nil || !strings.Contains(err.Error(), "permission denied to create role") {
		t.Fatalf("with roles: %v", err)
	}
	up(t, goose.Config{DatabaseURL: url, NoSlot: true, NoRoles: true})
	if n := value[int](t, admin, "select count(*) from pg_roles where rolname like 'gapless%'"); n != 0 {
		t.Errorf("%d group roles were made", n)
	}
	pool := open(t, url)
	exec(t, pool, "select gapless.append('order', 'o-1', 'A', '{}'::jsonb)")
	if n := value[int](t, pool, "select count(*) from pg_publication_tables where pubname = 'gapless'"); n != 2 {
		t.Errorf("%d tables are published, want outbox and dead_letter", n)
	}
	if err := goose.Down(t.Context(), goose.Config{DatabaseURL: url, NoSlot: true}); err != nil {
		t.Fatal(err)
	}
}

// A role that may not create schemas passes when a DBA has made it.
func TestUpIntoASchemaThatADBAMade(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, nil)
	admin := open(t, server.SuperuserURL())
	exec(t, admin, "create role deploy login password 'secret'")
	exec(t, admin, "create database shared")
	owner := open(t, server.URL("shared"))
	exec(t, owner, "create schema gapless authorization deploy")
	_, err := goose.Up(t.Context(), goose.Config{DatabaseURL: server.UserURL("deploy", "secret", "shared"), NoSlot: true, NoRoles: true, Components: []string{"inbox"}})
	// The publication needs CREATE on the database, and says so.
	if err == nil || strings.Contains(err.Error(), "schema gapless") || !strings.Contains(err.Error(), "permission denied for database shared") {
		t.Fatalf("got %v", err)
	}
	exec(t, owner, "grant create on database shared to deploy")
	up(t, goose.Config{DatabaseURL: server.UserURL("deploy", "secret", "shared"), NoSlot: true, NoRoles: true, Components: []string{"inbox"}})
}

func TestMigrationsAreExported(t *testing.T) {
	t.Parallel()
	for _, component := range goose.Components() {
		files, err := goose.Migrations(component)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if err := os.CopyFS(dir, files); err != nil {
			t.Fatal(err)
		}
		names, err := filepath.Glob(filepath.Join(dir, "*.sql"))
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v, %v", component, names, err)
		}
		slices.Sort(names)
		for i, name := range names {
			if number := filepath.Base(name)[:5]; number != []string{"00001", "00002", "00003", "00004"}[i] {
				t.Errorf("%s: file %d is %s", component, i+1, filepath.Base(name))
			}
		}
	}
}
