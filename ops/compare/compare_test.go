package compare_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/ops/compare"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair are two topics with 60 events of 6 keys each, and what plant did to the
// second.
func pair(t *testing.T, plant func(i int, r *kgo.Record) []*kgo.Record) (brokers []string, a, b string) {
	t.Helper()
	brokers = kafkaserver.ForTest(t)
	a, b = kafkaserver.Topic(t, brokers, "a", 3), kafkaserver.Topic(t, brokers, "b", 5)
	client := kafkaserver.Client(t, brokers)
	produce := func(topic string, r *kgo.Record) {
		t.Helper()
		r.Topic = topic
		if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 60 {
		made := func() *kgo.Record {
			return &kgo.Record{
				Key: fmt.Appendf(nil, "k%d", i%6), Value: fmt.Appendf(nil, "v%d", i),
				Headers: []kgo.RecordHeader{{Key: "id", Value: fmt.Appendf(nil, "e%02d", i)}, {Key: "run", Value: []byte("1")}},
			}
		}
		produce(a, made())
		for _, r := range plant(i, made()) {
			produce(b, r)
		}
	}
	return brokers, a, b
}

func topics(t *testing.T, c compare.Config) compare.Report {
	t.Helper()
	r, err := compare.Topics(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTheSame(t *testing.T) {
	t.Parallel()
	brokers, a, b := pair(t, func(i int, r *kgo.Record) []*kgo.Record {
		again := *r
		if i%10 == 3 {
			return []*kgo.Record{r, &again} // a repeat does not count
		}
		return []*kgo.Record{r}
	})
	r := topics(t, compare.Config{Brokers: brokers, A: a, B: b})
	if !r.Same() || r.Common != 60 || r.A.Records != 60 || r.B.Records != 66 || r.B.Repeats != 6 || !strings.HasPrefix(r.Verdict(), "the same") {
		t.Errorf("%s: %+v", r.Verdict(), r)
	}
}

// Each kind of difference is found, and none besides.
func TestPlantedDifferences(t *testing.T) {
	t.Parallel()
	var held *kgo.Record
	for name, c := range map[string]struct {
		plant  func(i int, r *kgo.Record) []*kgo.Record
		want   func(compare.Report) bool
		ignore []string
	}{
		"lost":          {func(i int, r *kgo.Record) []*kgo.Record { return one(i != 7, r) }, func(r compare.Report) bool { return r.A.Only == 1 && r.B.Only+r.Different+r.Inversions == 0 }, nil},
		"not there yet": {func(i int, r *kgo.Record) []*kgo.Record { return one(i < 57, r) }, func(r compare.Report) bool { return r.Same() && r.A.Tail == 3 }, nil},
		"added": {func(i int, r *kgo.Record) []*kgo.Record {
			more := *r
			more.Headers = []kgo.RecordHeader{{Key: "id", Value: fmt.Appendf(nil, "phantom%d", i)}}
			if i == 7 {
				return []*kgo.Record{&more, r}
			}
			return one(true, r)
		}, func(r compare.Report) bool { return r.B.Only == 1 && r.A.Only+r.Different+r.Inversions == 0 }, nil},
		"another value": {func(i int, r *kgo.Record) []*kgo.Record {
			if i == 7 {
				r.Value = []byte("other")
			}
			return one(true, r)
		}, func(r compare.Report) bool { return r.Different == 1 && r.A.Only+r.B.Only+r.Inversions == 0 }, nil},
		"null for empty": {func(i int, r *kgo.Record) []*kgo.Record {
			if i == 7 {
				r.Headers[1].Value = nil
			}
			return one(true, r)
		}, func(r compare.Report) bool { return r.Different == 1 }, nil},
		"a header that may differ": {func(_ int, r *kgo.Record) []*kgo.Record {
			r.Headers[1].Value = []byte("2")
			return one(true, r)
		}, func(r compare.Report) bool { return r.Same() }, []string{"run"}},
		"another order": {func(i int, r *kgo.Record) []*kgo.Record {
			switch i {
			case 6:
				held = r
				return nil
			case 12: // of the same key
				return []*kgo.Record{r, held}
			}
			return one(true, r)
		}, func(r compare.Report) bool { return r.Inversions == 1 && r.A.Only+r.B.Only+r.Different == 0 }, nil},
		"without an id": {func(i int, r *kgo.Record) []*kgo.Record {
			if i == 59 {
				r.Headers = nil
			}
			return one(true, r)
		}, func(r compare.Report) bool { return r.B.NoID == 1 && !r.Same() }, nil},
		"nothing": {func(int, *kgo.Record) []*kgo.Record { return nil }, func(r compare.Report) bool { return !r.Same() && r.Common == 0 }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			brokers, a, b := pair(t, c.plant)
			r := topics(t, compare.Config{Brokers: brokers, A: a, B: b, IgnoreHeaders: c.ignore})
			if !c.want(r) {
				t.Errorf("%s: %+v", r.Verdict(), r)
			}
			if !r.Same() && r.Common > 0 && r.A.NoID+r.B.NoID == 0 && len(r.Examples) != 1 {
				t.Errorf("examples %q", r.Examples)
			}
		})
	}
}

func one(keep bool, r *kgo.Record) []*kgo.Record {
	if !keep {
		return nil
	}
	return []*kgo.Record{r}
}
