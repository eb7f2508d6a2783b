package eventrouter

import (
	"slices"
	"strings"
	"testing"
)

func TestTopicsOfValues(t *testing.T) {
	t.Parallel()
	c := Config{RouteBy: "kind", TopicRegex: "(?<what>.*)Event", TopicReplacement: "billing.${what}", TopicPrefix: "eu."}
	got, err := c.Topics("InvoiceEvent", "Refund")
	if want := []string{"eu.billing.Invoice", "eu.Refund"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	if got, err := (Config{}).Topics("order"); err != nil || !slices.Equal(got, []string{"outbox.event.order"}) {
		t.Errorf("by default %v, %v", got, err)
	}
	if c.RoutedBy() != "kind" || (Config{}).RoutedBy() != "aggregatetype" {
		t.Errorf("routed by %q, by default %q", c.RoutedBy(), Config{}.RoutedBy())
	}
	if _, err := c.Topics("two words"); err == nil || !strings.Contains(err.Error(), `value "two words" of column "kind"`) {
		t.Errorf("a name that Kafka does not take: %v", err)
	}
	if _, err := (Config{TopicRegex: "("}).Topics("x"); err == nil {
		t.Error("an expression that is none is taken")
	}
}
