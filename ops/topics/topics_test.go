package topics_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/ops/topics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// config asks for two topics and a consumer's dead letters, under names that no
// other test has.
func config(t *testing.T) (topics.Config, *kadm.Client) {
	t.Helper()
	brokers := kafkaserver.ForTest(t)
	name := kafkaserver.Name(t, "topics.")
	c := topics.Config{
		Brokers: brokers, Topics: []string{name + ".order", name + ".stock"}, Partitions: 4,
		Consumers: []topics.Consumer{{Name: name, Topics: []string{name + ".order"}}},
	}
	admin := kadm.NewClient(kafkaserver.Client(t, brokers))
	t.Cleanup(func() {
		_, _ = admin.DeleteTopics(context.WithoutCancel(t.Context()), c.Names()...)
	})
	return c, admin
}

func apply(t *testing.T, c topics.Config) topics.Report {
	t.Helper()
	r, err := topics.Apply(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestApplyMakesWhatIsMissingOnce(t *testing.T) {
	t.Parallel()
	c, admin := config(t)
	missing, err := topics.Missing(t.Context(), c)
	if err != nil || !slices.Equal(missing, c.Names()) || len(missing) != 3 {
		t.Fatalf("missing %v, %v", missing, err)
	}
	var lack *topics.MissingError
	if err := topics.Require(t.Context(), c); !errors.As(err, &lack) || !strings.Contains(err.Error(), "gapless topics apply") {
		t.Errorf("require: %v", err)
	}
	dry := c
	dry.DryRun = true
	if r := apply(t, dry); len(r.Created) != 3 {
		t.Errorf("dry run: %+v", r)
	}
	if r := apply(t, c); !slices.Equal(r.Created, c.Names()) || r.Topics != 3 {
		t.Errorf("first: %+v", r)
	}
	if r := apply(t, c); len(r.Created)+len(r.Changed)+len(r.Repartitioned)+len(r.Differences) != 0 {
		t.Errorf("again: %+v", r)
	}
	if err := topics.Require(t.Context(), c); err != nil {
		t.Error(err)
	}
	details, err := admin.ListTopics(t.Context(), c.Names()...)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range c.Names() {
		want := 4
		if strings.HasPrefix(name, "dlq.gapless.") {
			want = 1
		}
		if got := len(details[name].Partitions); got != want {
			t.Errorf("%s has %d partitions, want %d", name, got, want)
		}
		if got := setting(t, admin, name, "max.message.bytes"); got != "2097152" {
			t.Errorf("%s: max.message.bytes %s", name, got)
		}
	}
}

func setting(t *testing.T, admin *kadm.Client, topic, key string) string {
	t.Helper()
	resources, err := admin.DescribeTopicConfigs(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	resource, err := resources.On(topic, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range resource.Configs {
		if s.Key == key {
			return s.MaybeValue()
		}
	}
	return ""
}

func TestApplyRefusesToMoveKeys(t *testing.T) {
	t.Parallel()
	c, admin := config(t)
	apply(t, c)
	more := c
	more.Partitions, more.Topics = 6, append(slices.Clone(c.Topics), c.Topics[0]+".new")
	_, err := topics.Apply(t.Context(), more)
	var refused *topics.RepartitionError
	if !errors.As(err, &refused) || len(refused.Topics) != 2 || !strings.Contains(err.Error(), c.Topics[0]) {
		t.Fatalf("error %v", err)
	}
	if !strings.Contains(refused.Refusal(), "--allow-repartition") {
		t.Errorf("remedy: %s", refused.Refusal())
	}
	if missing, err := topics.Missing(t.Context(), more); err != nil || len(missing) != 1 {
		t.Errorf("a refusal must change nothing, missing %v, %v", missing, err)
	}
	more.Topics, more.AllowRepartition = c.Topics, true
	if r := apply(t, more); len(r.Repartitioned) != 2 {
		t.Errorf("%+v", r)
	}
	details, err := admin.ListTopics(t.Context(), c.Topics[0])
	if err != nil || len(details[c.Topics[0]].Partitions) != 6 {
		t.Errorf("%d partitions, %v", len(details[c.Topics[0]].Partitions), err)
	}
	if r := apply(t, c); len(r.Differences) != 2 || r.Differences[0].Have != "6" || r.Differences[0].Want != "4" {
		t.Errorf("fewer than there are: %+v", r)
	}
}

func TestApplyMendsSettingsAndLowersNone(t *testing.T) {
	t.Parallel()
	c, admin := config(t)
	small, large := "1000000", "9000000"
	for name, value := range map[string]*string{c.Topics[0]: &small, c.Topics[1]: &large} {
		if _, err := admin.CreateTopic(t.Context(), 4, 1, map[string]*string{"max.message.bytes": value}, name); err != nil {
			t.Fatal(err)
		}
	}
	r := apply(t, c)
	if len(r.Changed) != 1 || r.Changed[0] != (topics.Difference{Topic: c.Topics[0], What: "max.message.bytes", Have: small, Want: "2097152"}) {
		t.Errorf("changed %+v", r.Changed)
	}
	// A controller that has altered a topic answers before its brokers know.
	testkit.Eventually(t, 10*time.Second, func() error {
		if got := setting(t, admin, c.Topics[0], "max.message.bytes"); got != "2097152" {
			return fmt.Errorf("raised to %s", got)
		}
		return nil
	})
	if got := setting(t, admin, c.Topics[1], "max.message.bytes"); got != large {
		t.Errorf("lowered to %s", got)
	}
}

func TestTwoAppliesAtOnce(t *testing.T) {
	t.Parallel()
	c, _ := config(t)
	g, ctx := errgroup.WithContext(t.Context())
	for range 4 {
		g.Go(func() error {
			_, err := topics.Apply(ctx, c)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

func TestABrokerThatIsAwayIsNamed(t *testing.T) {
	t.Parallel()
	_, err := topics.Missing(t.Context(), topics.Config{Brokers: []string{"127.0.0.1:1"}})
	if err == nil || !strings.Contains(err.Error(), "reach Kafka at 127.0.0.1:1") {
		t.Errorf("error %v", err)
	}
}

func TestConfigNamesTheField(t *testing.T) {
	t.Parallel()
	_, err := topics.Apply(t.Context(), topics.Config{Partitions: -1, Replication: 1, MinInsync: 2})
	for _, field := range []string{"Brokers", "Partitions", "MinInsync"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%v does not name %s", err, field)
		}
	}
}

func ExampleConfig_Names() {
	c := topics.Config{
		Topics:    []string{"outbox.event.order"},
		Consumers: []topics.Consumer{{Name: "loyalty", Topics: []string{"outbox.event.order"}}},
	}
	for _, name := range c.Names() {
		fmt.Println(name)
	}
	// Output:
	// dlq.gapless.loyalty.outbox.event.order
	// outbox.event.order
}

func ExampleApply() {
	var ctx context.Context // the program's
	start := func() error {
		c := topics.Config{Brokers: []string{"127.0.0.1:9092"}, Replication: 3, MinInsync: 2}
		if _, err := topics.Apply(ctx, c); err != nil {
			return err
		}
		return topics.Require(ctx, c)
	}
	_ = start
}

func TestCreateTouchesNoTopicThatIsThere(t *testing.T) {
	t.Parallel()
	c, admin := config(t)
	if _, err := admin.CreateTopic(t.Context(), 9, 1, nil, c.Topics[0]); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 10*time.Second, func() error {
		missing, err := topics.Missing(t.Context(), c)
		if err == nil && slices.Contains(missing, c.Topics[0]) {
			err = fmt.Errorf("%s is not visible yet", c.Topics[0])
		}
		return err
	})
	created, err := topics.Create(t.Context(), c)
	if err != nil || len(created) != 2 || slices.Contains(created, c.Topics[0]) {
		t.Errorf("created %v, %v", created, err)
	}
	if err := topics.Require(t.Context(), c); err != nil {
		t.Error(err)
	}
	if created, err := topics.Create(t.Context(), c); err != nil || len(created) != 0 {
		t.Errorf("again: created %v, %v", created, err)
	}
	details, err := admin.ListTopics(t.Context(), c.Topics[0])
	if err != nil || len(details[c.Topics[0]].Partitions) != 9 {
		t.Errorf("%d partitions, %v", len(details[c.Topics[0]].Partitions), err)
	}
}

func ExampleCreate() {
	var ctx context.Context // the service's
	start := func() error {
		_, err := topics.Create(ctx, topics.Config{Brokers: []string{"127.0.0.1:9092"}, Partitions: 4})
		return err
	}
	_ = start
}
