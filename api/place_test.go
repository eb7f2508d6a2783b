package api_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/gapless/gapless/api"
	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/contracts/gaplessv1"
)

func TestAnOrderIsWrittenWithItsEventAndItsAnswer(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	r := f.place("k-1", good(`[{"sku":"A-1","quantity":2}]`, `[{"sku":"A-1","quantity":2},{"sku":"B-2","quantity":3}]`),
		map[string]string{"traceparent": parent, "tracestate": "vendor=1"})
	if r.StatusCode != http.StatusAccepted {
		t.Fatalf("status %d: %s", r.StatusCode, r.text)
	}
	var o api.PlacedOrder
	r.into(t, &o)
	if o.TotalMinor != 2*1250+3*300 || o.Status != api.Pending || o.Currency != "USD" {
		t.Errorf("answer %s", r.text)
	}
	if got, want := r.Header.Get("Location"), "/v1/orders/"+o.ID.String(); got != want {
		t.Errorf("location %q, want %q", got, want)
	}
	if r.Header.Get("Idempotent-Replayed") != "" {
		t.Error("a first answer says that it is a repeat")
	}

	var aggregateType, aggregateID, typ string
	var version int64
	var payload []byte
	var headers map[string]string
	if err := f.admin.QueryRow(t.Context(), `select aggregatetype, aggregateid, aggregate_version, type, payload, headers from gapless.outbox`).
		Scan(&aggregateType, &aggregateID, &version, &typ, &payload, &headers); err != nil {
		t.Fatal(err)
	}
	if aggregateType != "order" || aggregateID != o.ID.String() || version != 1 || typ != "OrderPlaced" {
		t.Errorf("event %s %s v%d %s", aggregateType, aggregateID, version, typ)
	}
	if headers["traceparent"] != parent || headers["tracestate"] != "vendor=1" || headers["ce_correlationid"] != o.ID.String() {
		t.Errorf("headers %v", headers)
	}
	m, err := contracts.Decode(headers["content-type"], typ, payload)
	if err != nil {
		t.Fatal(err)
	}
	event := m.(*gaplessv1.OrderPlaced)
	if event.GetTotalMinor() != o.TotalMinor || len(event.GetItems()) != 2 || event.GetItems()[1].GetUnitPriceMinor() != 300 ||
		event.GetPlan() != gaplessv1.Plan_PLAN_STANDARD || event.GetShippingAddress().GetPostalCode() != "94107" || !event.GetPlacedAt().AsTime().Equal(o.CreatedAt) {
		t.Errorf("event %v", event)
	}

	got := f.do(http.MethodGet, "/v1/orders/"+o.ID.String(), "", nil)
	var full api.Order
	got.into(t, &full)
	if got.StatusCode != http.StatusOK || len(full.Items) != 2 || full.Items[0].Sku != "A-1" || full.Items[1].UnitPriceMinor != 300 ||
		full.ShippingAddress.City != "San Francisco" || full.StockStatus != api.Undecided || full.Version != 1 || !full.CreatedAt.Equal(o.CreatedAt) {
		t.Errorf("order %s", got.text)
	}
	if n := f.count("select count(*) from checkout.orders where traceparent = $1", parent); n != 1 {
		t.Error("the order's row has another traceparent")
	}
}

func TestARepeatGetsTheSameBytes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	first := f.place("k-1", good())
	// The same order, written otherwise: member order, white space, quoted key,
	// escapes, the default left out.
	var members map[string]any
	if err := json.Unmarshal([]byte(good()), &members); err != nil {
		t.Fatal(err)
	}
	delete(members, "plan")
	text, err := json.MarshalIndent(members, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	again := f.place(`"k-1"`, string(text))
	if again.StatusCode != http.StatusAccepted || !bytes.Equal(first.text, again.text) {
		t.Errorf("status %d, body %s, want %s", again.StatusCode, again.text, first.text)
	}
	if again.Header.Get("Idempotent-Replayed") != "true" || again.Header.Get("Location") != first.Header.Get("Location") {
		t.Errorf("headers %v", again.Header)
	}
	if n := f.count("select count(*) from gapless.outbox"); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
	f.wantProblem(f.place("k-1", good(`"quantity":2`, `"quantity":3`)), 422, "idempotency-key-reused")
}

func TestARepeatOutlivesTheCatalogue(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *api.Config) { c.PriceAge = -1 })
	first := f.place("k-1", good())
	f.sql("delete from checkout.products where sku = 'A-1'")
	again := f.place("k-1", good())
	if again.StatusCode != http.StatusAccepted || !bytes.Equal(first.text, again.text) {
		t.Errorf("status %d: %s", again.StatusCode, again.text)
	}
	f.wantProblem(f.place("k-2", good()), 422, "invalid-order")
	f.wantProblem(f.place("k-1", good(`"quantity":2`, `"quantity":3`)), 422, "idempotency-key-reused")
}

func TestARefusedOrderLeavesTheKeyFree(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.wantProblem(f.place("k-1", good("A-1", "nope")), 422, "invalid-order")
	f.wantNothing()
	f.placed("k-1")
}

func TestBadBodies(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	items := func(n int) string {
		var b strings.Builder
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(`{"sku":"S`)
			b.WriteString(strings.Repeat("x", i%7))
			b.WriteByte(byte('a' + i%26))
			b.WriteString(`","quantity":1}`)
		}
		return b.String()
	}
	one := `{"sku":"A-1","quantity":2}`
	for name, c := range map[string]struct {
		body    string
		status  int
		kind    string
		pointer string
	}{
		"empty":                {" ", 400, "malformed", ""},
		"not json":             {"{", 400, "malformed", ""},
		"trailing data":        {good() + "{}", 400, "malformed", ""},
		"duplicate key":        {good(`"currency":"USD"`, `"currency":"USD","currency":"EUR"`), 400, "malformed", "/currency"},
		"duplicate deep":       {good(one, `{"sku":"A-1","quantity":2,"quantity":2}`), 400, "malformed", "/items/0/quantity"},
		"nan":                  {good(`"quantity":2`, `"quantity":NaN`), 400, "malformed", ""},
		"infinity":             {good(`"quantity":2`, `"quantity":-Infinity`), 400, "malformed", ""},
		"invalid utf-8":        {good("Main", "M\xffin"), 400, "malformed", ""},
		"half a surrogate":     {good("Main", `\ud800`), 400, "malformed", ""},
		"depth":                {good(`"tok_ok"`, strings.Repeat("[", 50)+strings.Repeat("]", 50)), 400, "malformed", ""},
		"array":                {"[]", 422, "invalid-order", ""},
		"null":                 {"null", 422, "invalid-order", ""},
		"unknown key":          {good(`"plan":`, `"color":"red","plan":`), 422, "invalid-order", "/color"},
		"unknown item key":     {good(one, `{"sku":"A-1","quantity":2,"a/b~c":1}`), 422, "invalid-order", "/items/0/a~1b~0c"},
		"case counts":          {good(`"plan"`, `"Plan"`), 422, "invalid-order", "/Plan"},
		"missing":              {good(`"customer_id":"c-1",`, ``), 422, "invalid-order", "/customer_id"},
		"null customer":        {good(`"c-1"`, `null`), 422, "invalid-order", "/customer_id"},
		"blank customer":       {good(`"c-1"`, `"  "`), 422, "invalid-order", "/customer_id"},
		"long customer":        {good(`c-1`, strings.Repeat("c", 129)), 422, "invalid-order", "/customer_id"},
		"nul":                  {good(`c-1`, `c\u0000`), 422, "invalid-order", "/customer_id"},
		"wrong currency":       {good("USD", "EUR"), 422, "invalid-order", "/currency"},
		"odd currency":         {good("USD", "usd"), 422, "invalid-order", "/currency"},
		"long currency":        {good("USD", "USDX"), 422, "invalid-order", "/currency"},
		"no items":             {good(one, ``), 422, "invalid-order", "/items"},
		"101 items":            {good(one, items(101)), 422, "invalid-order", "/items"},
		"10,000 items":         {good(one, items(10_000)), 413, "body-too-large", ""},
		"items an object":      {good(`[`+one+`]`, one), 422, "invalid-order", "/items"},
		"item a string":        {good(one, `"A-1"`), 422, "invalid-order", "/items/0"},
		"unknown sku":          {good("A-1", "X-404"), 422, "invalid-order", "/items/0/sku"},
		"sku twice":            {good(one, one+","+one), 422, "invalid-order", "/items/1/sku"},
		"quantity zero":        {good(`"quantity":2`, `"quantity":0`), 422, "invalid-order", "/items/0/quantity"},
		"quantity negative":    {good(`"quantity":2`, `"quantity":-1`), 422, "invalid-order", "/items/0/quantity"},
		"quantity large":       {good(`"quantity":2`, `"quantity":10001`), 422, "invalid-order", "/items/0/quantity"},
		"quantity huge":        {good(`"quantity":2`, `"quantity":99999999999999999999999999`), 422, "invalid-order", "/items/0/quantity"},
		"quantity exponent":    {good(`"quantity":2`, `"quantity":1e999`), 422, "invalid-order", "/items/0/quantity"},
		"quantity fraction":    {good(`"quantity":2`, `"quantity":1.5`), 422, "invalid-order", "/items/0/quantity"},
		"quantity string":      {good(`"quantity":2`, `"quantity":"2"`), 422, "invalid-order", "/items/0/quantity"},
		"total too large":      {good(`"sku":"A-1","quantity":2`, `"sku":"G-9","quantity":10000`), 422, "invalid-order", "/items"},
		"address missing":      {good(`"line1":"1 Main St",`, ``), 422, "invalid-order", "/shipping_address/line1"},
		"address a string":     {good(`"shipping_address":{`, `"shipping_address":"x","x":{`), 422, "invalid-order", "/x"},
		"country":              {good(`"US"`, `"USA"`), 422, "invalid-order", "/shipping_address/country"},
		"postal code a number": {good(`"94107"`, `94107`), 422, "invalid-order", "/shipping_address/postal_code"},
		"plan":                 {good("standard", "premium"), 422, "invalid-order", "/plan"},
		"token":                {good("tok_ok", "4111 1111"), 422, "invalid-order", "/payment_token"},
		"too large":            {good("Main", strings.Repeat("x", 70_000)), 413, "body-too-large", ""},
	} {
		r := f.place("k-1", c.body)
		if r.StatusCode != c.status {
			t.Errorf("%s: status %d, want %d: %s", name, r.StatusCode, c.status, r.text)
			continue
		}
		p := f.wantProblem(r, c.status, c.kind)
		if c.pointer == "" {
			continue
		}
		found := false
		if p.Errors != nil {
			for _, e := range *p.Errors {
				found = found || e.Pointer == c.pointer
			}
		}
		if !found {
			t.Errorf("%s: no error at %s: %s", name, c.pointer, r.text)
		}
	}
	f.wantNothing()
}

func TestEveryFaultIsNamedAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	p := f.wantProblem(f.place("k", `{"customer_id":"","currency":"usd","items":[{"sku":"A-1"}],"shipping_address":{},"payment_token":1}`), 422, "invalid-order")
	if p.Errors == nil || len(*p.Errors) != 8 {
		t.Errorf("errors %v, want 8", p.Errors)
	}
}

func TestBadHeaders(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for name, c := range map[string]struct {
		header map[string]string
		status int
		kind   string
	}{
		"no key":         {map[string]string{"Idempotency-Key": "-"}, 400, "idempotency-key-missing"},
		"empty key":      {map[string]string{"Idempotency-Key": ""}, 400, "idempotency-key-malformed"},
		"empty quoted":   {map[string]string{"Idempotency-Key": `""`}, 400, "idempotency-key-malformed"},
		"open quote":     {map[string]string{"Idempotency-Key": `"abc`}, 400, "idempotency-key-malformed"},
		"long key":       {map[string]string{"Idempotency-Key": strings.Repeat("k", 256)}, 400, "idempotency-key-malformed"},
		"non-ascii key":  {map[string]string{"Idempotency-Key": "k\xc3\xa9"}, 400, "idempotency-key-malformed"},
		"no media type":  {map[string]string{"Content-Type": "-"}, 415, "unsupported-media-type"},
		"text":           {map[string]string{"Content-Type": "text/plain"}, 415, "unsupported-media-type"},
		"form":           {map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, 415, "unsupported-media-type"},
		"latin-1":        {map[string]string{"Content-Type": "application/json; charset=iso-8859-1"}, 415, "unsupported-media-type"},
		"compressed":     {map[string]string{"Content-Encoding": "gzip"}, 415, "unsupported-media-type"},
		"huge header":    {map[string]string{"X-Padding": strings.Repeat("x", 100<<10)}, 431, ""},
		"key with space": {map[string]string{"Idempotency-Key": "a b"}, 202, ""},
		"utf-8":          {map[string]string{"Idempotency-Key": "k-2", "Content-Type": "application/json; charset=UTF-8"}, 202, ""},
	} {
		r := f.place("k-1", good(), c.header)
		if r.StatusCode != c.status {
			t.Errorf("%s: status %d, want %d: %s", name, r.StatusCode, c.status, r.text)
		} else if c.kind != "" {
			f.wantProblem(r, c.status, c.kind)
		}
	}
}

func TestRoutesThatAreNotThere(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.wantProblem(f.do(http.MethodGet, "/v2/orders", "", nil), 404, "not-found")
	f.wantProblem(f.do(http.MethodGet, "/v1/orders/0192f8c0-0000-7000-8000-000000000000", "", nil), 404, "not-found")
	f.wantProblem(f.do(http.MethodGet, "/v1/orders/12", "", nil), 400, "malformed")
	r := f.do(http.MethodDelete, "/v1/orders", "", nil)
	f.wantProblem(r, 405, "method-not-allowed")
	if got := r.Header.Get("Allow"); got != "GET, POST" {
		t.Errorf("allow %q", got)
	}
	if r := f.do(http.MethodGet, "/problems/invalid-order", "", nil); r.StatusCode != http.StatusOK || !bytes.Contains(r.text, []byte("422")) {
		t.Errorf("a problem's page: status %d: %s", r.StatusCode, r.text)
	}
	if r := f.do(http.MethodGet, "/openapi.yaml", "", nil); r.StatusCode != http.StatusOK || !bytes.Equal(r.text, api.OpenAPI()) {
		t.Errorf("openapi: status %d", r.StatusCode)
	}
}
