package catalog_test

import (
	"strings"
	"testing"

	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/ops/catalog"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestReadNamesTheMistake(t *testing.T) {
	t.Parallel()
	const head = "sku,name,price_minor,currency,stock\n"
	for _, tt := range []struct{ name, in, want string }{
		{"empty file", "", "the file is empty"},
		{"missing column", "sku,name,price_minor,currency\n", `column "stock" is missing`},
		{"negative price", head + "A,a,-1,USD,1\n", "line 2: price_minor"},
		{"fraction", head + "A,a,1.5,USD,1\n", "line 2: price_minor"},
		{"huge stock", head + "A,a,1,USD,9999999999999999999\n", "line 2: stock"},
		{"currency", head + "A,a,1,usd,1\n", `currency "usd"`},
		{"empty sku", head + ",a,1,USD,1\n", "line 2: sku"},
		{"empty name", head + "A,,1,USD,1\n", "line 2: name"},
		{"twice", head + "A,a,1,USD,1\nB,b,1,USD,1\nA,a,1,USD,1\n", `line 4: sku "A" stands in line 2`},
		{"short line", head + "A,a\n", "wrong number of fields"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := catalog.Read(strings.NewReader(tt.in))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v does not say %q", err, tt.want)
			}
		})
	}
}

func TestImport(t *testing.T) {
	t.Parallel()
	pool := pgtest.NewDB(t).Pool(t)
	load := func(text string, setStock bool) catalog.Report {
		t.Helper()
		products, err := catalog.Read(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		report, err := catalog.Import(t.Context(), pool, products, setStock)
		if err != nil {
			t.Fatal(err)
		}
		return report
	}
	const first = "stock,sku,name,price_minor,currency\n5,B,b,100,USD\n7,A,a,200,EUR\n"
	if got, want := load(first, false), (catalog.Report{Products: 2, New: 2}); got != want {
		t.Fatalf("first import: %+v, want %+v", got, want)
	}
	if got, want := load(first, true), (catalog.Report{Products: 2}); got != want {
		t.Fatalf("the same again: %+v, want %+v", got, want)
	}
	const second = "sku,name,price_minor,currency,stock\nA,a2,250,EUR,3\nC,c,1,USD,0\n"
	if got, want := load(second, false), (catalog.Report{Products: 2, New: 1}); got != want {
		t.Fatalf("second import: %+v, want %+v", got, want)
	}
	if got, want := load(second, true), (catalog.Report{Products: 2, Adjusted: 1}); got != want {
		t.Fatalf("recount: %+v, want %+v", got, want)
	}
	var broken int
	err := pool.QueryRow(t.Context(), `
		select count(*) from inventory.stock s
		where available <> initial + (select coalesce(sum(delta), 0) from inventory.stock_movements m where m.sku = s.sku)`).Scan(&broken)
	if err != nil || broken != 0 {
		t.Fatalf("%d SKUs whose stock is not initial plus movements (%v)", broken, err)
	}
	var name string
	var available int64
	err = pool.QueryRow(t.Context(), "select p.name, s.available from checkout.products p join inventory.stock s using (sku) where sku = 'A'").Scan(&name, &available)
	if err != nil || name != "a2" || available != 3 {
		t.Fatalf("A is %q with %d in stock (%v), want a2 with 3", name, available, err)
	}
}

func TestSample(t *testing.T) {
	t.Parallel()
	products, err := catalog.Sample()
	if err != nil || len(products) == 0 {
		t.Fatalf("%d products (%v)", len(products), err)
	}
}
