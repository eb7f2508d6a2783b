package outbox_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/outbox"
)

func TestValidation(t *testing.T) {
	t.Parallel()
	id := uuid.MustParse("0f5cd0a4-3c51-4a6e-9a5b-1d2c3b4a5f60")
	for name, c := range map[string]struct {
		change func(*outbox.Event)
		field  string
	}{
		"no aggregate type":        {func(e *outbox.Event) { e.AggregateType = "" }, "AggregateType"},
		"long aggregate type":      {func(e *outbox.Event) { e.AggregateType = strings.Repeat("a", 237) }, "AggregateType"},
		"slash in aggregate type":  {func(e *outbox.Event) { e.AggregateType = "a/b" }, "AggregateType"},
		"newline in aggregate":     {func(e *outbox.Event) { e.AggregateType = "a\n" }, "AggregateType"},
		"umlaut in aggregate type": {func(e *outbox.Event) { e.AggregateType = "ä" }, "AggregateType"},
		"no aggregate id":          {func(e *outbox.Event) { e.AggregateID = "" }, "AggregateID"},
		"long aggregate id":        {func(e *outbox.Event) { e.AggregateID = strings.Repeat("é", 513) }, "AggregateID"},
		"NUL in aggregate id":      {func(e *outbox.Event) { e.AggregateID = "a\x00" }, "AggregateID"},
		"aggregate id not UTF-8":   {func(e *outbox.Event) { e.AggregateID = "\xff" }, "AggregateID"},
		"negative version":         {func(e *outbox.Event) { e.AggregateVersion = -1 }, "AggregateVersion"},
		"no type":                  {func(e *outbox.Event) { e.Type = "" }, "Type"},
		"long type":                {func(e *outbox.Event) { e.Type = strings.Repeat("T", 256) }, "Type"},
		"NUL in type":              {func(e *outbox.Event) { e.Type = "\x00" }, "Type"},
		"message and payload":      {func(e *outbox.Event) { e.Message, e.Payload = durationpb.New(0), []byte{} }, "Message"},
		"message not expressible":  {func(e *outbox.Event) { e.Message = &durationpb.Duration{Nanos: -1, Seconds: 1} }, "Message"},
		"message not UTF-8":        {func(e *outbox.Event) { e.Message = wrapperspb.String("\xff") }, "Message"},
		"payload too large":        {func(e *outbox.Event) { e.Payload = make([]byte, outbox.MaxPayloadBytes+1) }, "Payload"},
		"header without a name":    {func(e *outbox.Event) { e.Headers = map[string]string{"": "x"} }, `Headers[""]`},
		"header with a space":      {func(e *outbox.Event) { e.Headers = map[string]string{"a b": "x"} }, `Headers["a b"]`},
		"header with an umlaut":    {func(e *outbox.Event) { e.Headers = map[string]string{"ä": "x"} }, `Headers["ä"]`},
		"NUL in a header":          {func(e *outbox.Event) { e.Headers = map[string]string{"x": "\x00"} }, `Headers["x"]`},
		"header not UTF-8":         {func(e *outbox.Event) { e.Headers = map[string]string{"x": "\xff"} }, `Headers["x"]`},
		"reserved header":          {func(e *outbox.Event) { e.Headers = map[string]string{"ce_id": "x"} }, `Headers["ce_id"]`},
		"headers too large":        {func(e *outbox.Event) { e.Headers = map[string]string{"x": strings.Repeat("x", outbox.MaxHeadersBytes)} }, "Headers"},
		"headers too large quoted": {func(e *outbox.Event) { e.Headers = map[string]string{"x": strings.Repeat("\x01", 3000)} }, "Headers"},
		"id given twice":           {func(e *outbox.Event) { e.ID = id }, "ID"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := outbox.Event{AggregateType: "order", AggregateID: "o", Type: "A"}
			c.change(&e)
			var batch pgx.Batch
			first := outbox.Event{ID: id, AggregateType: "order", AggregateID: "o", Type: "A"}
			err := outbox.New(outbox.Config{}).Queue(t.Context(), &batch, first, e)
			v, ok := errors.AsType[*outbox.ValidationError](err)
			if !ok || v.Field != c.field || v.Index != 1 || v.Reason == "" {
				t.Errorf("got %#v, want field %s of event 1", err, c.field)
			}
			if batch.Len() != 0 {
				t.Error("a statement was queued")
			}
		})
	}
}

func TestLimitsAreInclusive(t *testing.T) {
	t.Parallel()
	tx := begin(t, pgtest.NewDB(t))
	err := outbox.Append(t.Context(), tx, outbox.Event{
		AggregateType: strings.Repeat("a", outbox.MaxAggregateTypeBytes), AggregateID: strings.Repeat("é", outbox.MaxAggregateIDBytes/2),
		AggregateVersion: 1<<63 - 1, Type: strings.Repeat("T", outbox.MaxTypeBytes), Payload: make([]byte, outbox.MaxPayloadBytes),
		Headers: map[string]string{"x": strings.Repeat("é", (outbox.MaxHeadersBytes-len(`{"x": ""}`))/2)},
	})
	if err != nil {
		t.Error(err)
	}
}

// What the library lets through, the table's constraints accept, and the other
// way round: or a transaction would be aborted by what should have been said
// before.
func FuzzValidationAgreesWithTheTable(f *testing.F) {
	f.Add("order", "o-1", int64(1), "OrderPlaced", []byte("{}"), "x", "value")
	f.Add("a/b", "", int64(-1), "", []byte(nil), "", "\x00")
	f.Add("order", "\xff", int64(0), "T", []byte{0}, "ce_id", strings.Repeat("\"", 9000))
	f.Add(strings.Repeat("a", 237), strings.Repeat("é", 512), int64(1), strings.Repeat("T", 256), []byte{}, "~", strings.Repeat("\x01", 2731))
	f.Add("order\n", "o", int64(1), "T", []byte{}, "y", "\u2028<>&\x7f\b\f")
	pool := pgtest.NewDB(f).Pool(f)
	f.Fuzz(func(t *testing.T, aggregateType, aggregateID string, version int64, typ string, payload []byte, header, value string) {
		tx, err := pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback(context.WithoutCancel(t.Context()))
		err = outbox.Append(t.Context(), tx, outbox.Event{
			AggregateType: aggregateType, AggregateID: aggregateID, AggregateVersion: version, Type: typ,
			Payload: payload, Headers: map[string]string{header: value},
		})
		v, invalid := errors.AsType[*outbox.ValidationError](err)
		if err != nil && !invalid {
			t.Fatalf("the library let through what the table refuses: %v", err)
		}
		if !invalid || strings.HasPrefix(v.Field, "Headers[") || v.Field == "AggregateVersion" {
			return // header names and negative versions are the library's own rule, or checked elsewhere
		}
		headers := map[string]string{header: value}
		_, err = tx.Exec(t.Context(), `
			insert into gapless.outbox (aggregatetype, aggregateid, aggregate_version, type, payload, headers)
			values ($1, $2, nullif($3, 0), $4, $5, $6)`, aggregateType, aggregateID, version, typ, payload, headers)
		if err == nil {
			t.Fatalf("the library refuses what the table takes: %v", v)
		}
	})
}
