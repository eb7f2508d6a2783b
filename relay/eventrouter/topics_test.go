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
	// What Kafka Connect's RegexRouter makes of them, by Java 17.
	for _, c := range []struct{ regex, replacement, value, want string }{
		{"(?<routedByValue>.*?)(Event)?", "outbox.event.${routedByValue}", "OrderEvent", "outbox.event.OrderEvent"},
		{"(order|orders)", "$1.events", "orders", "order.eventss"},
		{`(?<p>[^.]+?)(\..*)?`, "ev.${p}", "order.created", "ev.order.created"},
		{"(?<all>.*)", "x.${all}", "order", "x.order"},
		{`[\w-z]+`, "x", "a-b", "x"},
		{`[\w-z]+`, "x", "a.b", "a.b"},
		{`[\w-\.]+`, "x", "a-b.c", "x"},
		{`[\d-z]+`, "x", "1-y", "1-y"},
		{"(?=o)(?<first>or|order).*?", "${first}-", "order", "or-der"},
	} {
		got, err := Config{TopicRegex: c.regex, TopicReplacement: c.replacement}.Topics(c.value)
		if err != nil || len(got) != 1 || got[0] != c.want {
			t.Errorf("%s of %s by %s: %q, %v; want %s", c.replacement, c.value, c.regex, got, err, c.want)
		}
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
