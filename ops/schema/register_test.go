package schema_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/ops/schema"
)

// registryVariable names a real registry for the tests that fit one.
const registryVariable = "GAPLESS_TEST_REGISTRY_URL"

// registryURL is the real registry's, or a fake's of this test.
func registryURL(t *testing.T) string {
	t.Helper()
	if url := os.Getenv(registryVariable); url != "" {
		t.Log("registry: real")
		return url
	}
	r := srfake.New()
	t.Cleanup(r.Close)
	return r.URL()
}

// own returns the catalogue under subjects that no other test has, so that a
// real registry can serve many.
func own(t *testing.T) (fs.FS, []schema.Contract) {
	t.Helper()
	prefix := "t" + strings.ToLower(rand.Text())
	files := fstest.MapFS{}
	root, err := fs.Sub(contracts.ProtoFS, "proto")
	if err != nil {
		t.Fatal(err)
	}
	err = fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(root, path)
		files[prefix+"/"+path] = &fstest.MapFile{Data: []byte(strings.ReplaceAll(string(text), `import "gapless/`, `import "`+prefix+`/gapless/`))}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var list []schema.Contract
	for _, c := range schema.Catalogue() {
		list = append(list, schema.Contract{Subject: prefix + "." + c.Subject, Message: c.Message})
	}
	return files, list
}

func startLocal(t *testing.T, db schema.Querier) *schema.Local {
	t.Helper()
	local, err := schema.StartLocal(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := local.Close(); err != nil {
			t.Error(err)
		}
	})
	return local
}

func TestRegisterThenLoad(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewDB(t).Pool(t)
	if _, err := contracts.Load(t.Context(), pool); err == nil || !strings.Contains(err.Error(), "OrderPlaced") {
		t.Fatalf("load before register: %v", err)
	}
	local := startLocal(t, pool)
	report, err := schema.Register(t.Context(), schema.Config{RegistryURL: local.URL(), DB: pool})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(report.Contracts), len(contracts.Catalogue()); got != want {
		t.Errorf("%d contracts, want %d", got, want)
	}
	codec, err := contracts.Load(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range contracts.Catalogue() {
		payload, _, _, err := codec.Encode(c.AggregateType, c.Message)
		if err != nil {
			t.Fatal(err)
		}
		if got := decode(t, pool, payload); got["error"] != nil {
			t.Errorf("decode %s: %v", c.Type(), got)
		}
	}
}

// TestRegisterLooksAtTheDatabaseFirst: a registry forgets nothing.
func TestRegisterLooksAtTheDatabaseFirst(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]schema.Config{
		"not migrated": {DB: pgtest.NewEmptyDB(t).Pool(t)},
		"away":         {DatabaseURL: "postgres://nobody@127.0.0.1:1/none"},
		"no right":     {DB: pgtest.NewDB(t).LoginPool(t, pgtest.Readonly)},
	} {
		r := srfake.New()
		t.Cleanup(r.Close)
		c.RegistryURL = r.URL()
		if _, err := schema.Register(t.Context(), c); err == nil {
			t.Errorf("%s: no error", name)
		}
		client, err := sr.NewClient(sr.URLs(r.URL()))
		if err != nil {
			t.Fatal(err)
		}
		if subjects, err := client.Subjects(t.Context()); err != nil || len(subjects) > 0 {
			t.Errorf("%s: registered %v, %v", name, subjects, err)
		}
	}
}

func TestRegisterIsIdempotent(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	files, list := own(t)
	config := schema.Config{RegistryURL: registryURL(t), DatabaseURL: db.URL, Protos: files, Contracts: list}
	first, err := schema.Register(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	second, err := schema.Register(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range second.Contracts[:len(list)] {
		if c.ID != first.Contracts[i].ID || c.Version != first.Contracts[i].Version || c.Status != schema.StatusUnchanged {
			t.Errorf("second time %+v, first %+v", c, first.Contracts[i])
		}
	}
	var rows int
	if err := db.Pool(t).QueryRow(t.Context(), "select count(*) from gapless.schema_version").Scan(&rows); err != nil {
		t.Fatal(err)
	}
	if want := len(list) + 2; rows != want { // two files are imported
		t.Errorf("%d rows stored, want %d", rows, want)
	}
}

func TestRegisterTwiceAtOnce(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	local := startLocal(t, nil)
	var group sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		group.Go(func() {
			_, errs[i] = schema.Register(t.Context(), schema.Config{RegistryURL: local.URL(), DatabaseURL: db.URL})
		})
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
}

// The demo's registry forgets; the database does not, and its ids stay.
func TestLocalStartsWithWhatIsStored(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewDB(t).Pool(t)
	var before schema.Report
	for run := range 3 {
		local, err := schema.StartLocal(t.Context(), pool)
		if err != nil {
			t.Fatal(err)
		}
		report, err := schema.Register(t.Context(), schema.Config{RegistryURL: local.URL(), DB: pool})
		if err != nil {
			t.Fatal(err)
		}
		if err := local.Close(); err != nil {
			t.Fatal(err)
		}
		for i := range report.Contracts {
			if run > 0 && report.Contracts[i].ID != before.Contracts[i].ID {
				t.Fatalf("run %d: %+v, before %+v", run, report.Contracts[i], before.Contracts[i])
			}
		}
		before = report
	}
}

// Another registry gives other ids: what is in Kafka would be read by the wrong
// schema.
func TestRegisterRefusesAnotherRegistry(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewDB(t).Pool(t)
	one, other := srfake.New(), srfake.New()
	defer one.Close()
	defer other.Close()
	if _, _, err := other.RegisterSchema("somebody-elses", sr.Schema{Schema: `syntax = "proto3"; message X {}`, Type: sr.TypeProtobuf}); err != nil {
		t.Fatal(err)
	}
	if _, err := schema.Register(t.Context(), schema.Config{RegistryURL: one.URL(), DB: pool}); err != nil {
		t.Fatal(err)
	}
	_, err := schema.Register(t.Context(), schema.Config{RegistryURL: other.URL(), DB: pool})
	conflict, ok := errors.AsType[*schema.ConflictError](err)
	if !ok {
		t.Fatalf("got %v, want a conflict", err)
	}
	if conflict.StoredRegistry != one.URL() || conflict.Refusal() == "" {
		t.Errorf("got %+v", conflict)
	}
	var urls int
	if err := pool.QueryRow(t.Context(), "select count(distinct registry_url) from gapless.schema_version").Scan(&urls); err != nil {
		t.Fatal(err)
	}
	if urls != 1 {
		t.Error("part of the refused answers was stored")
	}
}

func TestRegisterSetsCompatibility(t *testing.T) {
	t.Parallel()
	for level, want := range map[schema.Compatibility]sr.CompatibilityLevel{schema.Backward: sr.CompatBackward, schema.Full: sr.CompatFull} {
		t.Run(string(level), func(t *testing.T) {
			t.Parallel()
			url := registryURL(t)
			files, list := own(t)
			if _, err := schema.Register(t.Context(), schema.Config{RegistryURL: url, Compatibility: level, Protos: files, Contracts: list}); err != nil {
				t.Fatal(err)
			}
			cl, err := sr.NewClient(sr.URLs(url), sr.HTTPClient(&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}))
			if err != nil {
				t.Fatal(err)
			}
			if got := cl.Compatibility(t.Context(), list[0].Subject)[0]; got.Err != nil || got.Level != want {
				t.Errorf("level %v, %v", got.Level, got.Err)
			}
		})
	}
}

// The registry's own refusal counts, in whatever words.
func TestCheckTakesTheRegistrysVerdict(t *testing.T) {
	t.Parallel()
	r := srfake.New()
	defer r.Close()
	if _, err := schema.Register(t.Context(), schema.Config{RegistryURL: r.URL()}); err != nil {
		t.Fatal(err)
	}
	root, err := fs.Sub(contracts.ProtoFS, "proto")
	if err != nil {
		t.Fatal(err)
	}
	text, err := fs.ReadFile(root, "gapless/v1/order.proto")
	if err != nil {
		t.Fatal(err)
	}
	changed := fstest.MapFS{"gapless/v1/order.proto": {Data: append(text, "\nmessage Later {}\n"...)}}
	r.Intercept(func(w http.ResponseWriter, req *http.Request) bool {
		if !strings.HasPrefix(req.URL.Path, "/compatibility/") {
			return false
		}
		fmt.Fprint(w, `{"is_compatible":false,"messages":["because I say so"]}`)
		return true
	})
	report, err := schema.Check(t.Context(), schema.Config{RegistryURL: r.URL(), Protos: changed, Contracts: schema.Catalogue()[:5]})
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Err(); err == nil || !strings.Contains(err.Error(), "because I say so") {
		t.Errorf("got %v", err)
	}
}

func TestCheckReportsRemovedContract(t *testing.T) {
	t.Parallel()
	r := srfake.New()
	defer r.Close()
	all := schema.Catalogue()
	if _, err := schema.Register(t.Context(), schema.Config{RegistryURL: r.URL()}); err != nil {
		t.Fatal(err)
	}
	report, err := schema.Check(t.Context(), schema.Config{RegistryURL: r.URL(), Contracts: all[1:]})
	if err != nil {
		t.Fatal(err)
	}
	if breaks := report.Breaks(); len(breaks) != 1 || breaks[0].Message != all[0].Message {
		t.Errorf("got %v", breaks)
	}
}

func TestCheckAgainstDirectory(t *testing.T) {
	t.Parallel()
	root, err := fs.Sub(contracts.ProtoFS, "proto")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, root); err != nil {
		t.Fatal(err)
	}
	report, err := schema.Diff(t.Context(), schema.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range report.Contracts {
		if c.Status != schema.StatusUnchanged {
			t.Errorf("%+v", c)
		}
	}
	path := filepath.Join(dir, "gapless", "v1", "order.proto")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	older := strings.Replace(string(text), "int64 total_minor = 4;", "int64 total_minor = 4;\n  string coupon = 77;", 1)
	if err := os.WriteFile(path, []byte(older), 0o600); err != nil {
		t.Fatal(err)
	}
	report, err = schema.Check(t.Context(), schema.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Err(); err == nil || !strings.Contains(err.Error(), "gapless.v1.OrderPlaced.coupon: is removed without reserving its number and name; add 'reserved 77; reserved \"coupon\";' to OrderPlaced") {
		t.Errorf("got %v", err)
	}
}

func TestConfigNamesEveryFault(t *testing.T) {
	t.Parallel()
	_, err := schema.Check(t.Context(), schema.Config{Compatibility: "sideways", Username: "u", BearerToken: "t"})
	for _, field := range []string{"Compatibility", "RegistryURL", "BearerToken"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s is not named in: %v", field, err)
		}
	}
}

func TestRegistryAway(t *testing.T) {
	t.Parallel()
	r := srfake.New()
	r.Close()
	if _, err := schema.Register(t.Context(), schema.Config{RegistryURL: r.URL()}); err == nil || !strings.Contains(err.Error(), r.URL()) {
		t.Errorf("got %v", err)
	}
}
