package consumers_test

import (
	"context"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gapless/gapless/consumers"
)

func TestNewNamesEveryFault(t *testing.T) {
	t.Parallel()
	apply := func(context.Context, consumers.Tx, consumers.Delivery) error { return nil }
	_, err := consumers.New(consumers.Config{
		BatchSize: -1, RetryBackoff: -1,
		Consumers: []consumers.Consumer{{Name: "Upper", Topics: []string{"t"}, Apply: apply}, {Name: "both"}, {Name: "both"}},
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"DatabaseURL or Pool", "Brokers is empty", "BatchSize is negative", "RetryBackoff is negative", `"Upper": Name`, `"both": set Apply or ApplyBatch`, `"both": Topics is empty`, `"both" is named twice`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not say %q:\n%v", want, err)
		}
	}
}

func TestRunnersShareARegisterer(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	for _, name := range []string{"a", "b"} {
		r, err := consumers.NewInbox(consumers.Config{DatabaseURL: "postgres://nowhere.invalid/x", Registerer: registry},
			consumers.Consumer{Name: name, Apply: func(context.Context, consumers.Tx, consumers.Delivery) error { return nil }})
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
	}
}

func TestErrorsKeepTheirCause(t *testing.T) {
	t.Parallel()
	err := context.Canceled
	for _, marked := range []error{consumers.Poison("why", err), consumers.Unavailable(err)} {
		if !strings.Contains(marked.Error(), err.Error()) {
			t.Errorf("%v hides its cause", marked)
		}
	}
	if consumers.Poison("why", nil) != nil || consumers.Unavailable(nil) != nil {
		t.Error("a nil error was marked")
	}
	if !consumers.IsPoison(consumers.Poison("why", err)) || consumers.IsPoison(err) || consumers.IsUnavailable(err) {
		t.Error("marks are told wrongly")
	}
}
