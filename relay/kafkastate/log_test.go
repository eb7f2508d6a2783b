package kafkastate_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/relay/kafkastate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const slot = "shop"

type topic struct {
	brokers []string
	name    string
}

func newTopic(t *testing.T) topic {
	t.Helper()
	return topic{kafkaserver.ForTest(t), kafkaserver.Name(t, "state")}
}

func (p topic) config() kafkastate.Config {
	return kafkastate.Config{Brokers: p.brokers, Topic: p.name, Slot: slot, Create: true, Logger: slog.New(slog.DiscardHandler)}
}

func (p topic) open(t *testing.T) *kafkastate.Log {
	t.Helper()
	l, err := kafkastate.Open(bounded(t), p.config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// owner fences and writes an incarnation, as a relay does that has got the slot.
func (p topic) owner(t *testing.T, incarnation int64) *kafkastate.Log {
	t.Helper()
	l := p.open(t)
	if err := l.Fence(bounded(t)); err != nil {
		t.Fatal(err)
	}
	write(t, l, incarnation, progress(incarnation, "0/10"))
	return l
}

func progress(incarnation int64, resume string) kafkastate.Entry {
	return kafkastate.EntryOf(slot, kafkastate.Progress{Incarnation: incarnation, SystemID: "1", Timeline: 1, Resume: resume})
}

func write(t *testing.T, l *kafkastate.Log, incarnation int64, entries ...kafkastate.Entry) {
	t.Helper()
	if err := l.Write(bounded(t), incarnation, entries...); err != nil {
		t.Fatal(err)
	}
}

func resume(t *testing.T, l *kafkastate.Log) (at string) {
	t.Helper()
	if err := l.End(bounded(t)); err != nil {
		t.Fatal(err)
	}
	err := l.View(func(s *kafkastate.Slot) {
		if s.Progress != nil {
			at = s.Progress.Resume
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// raw writes any record there is.
func (p topic) raw(t *testing.T, key, value string) {
	t.Helper()
	kafkaserver.Produce(t, p.brokers, p.name, key, []byte(value))
}

// One that was fenced can write nothing more, and nothing of what it tries is seen; what
// it had committed is.
func TestZombieIsFenced(t *testing.T) {
	t.Parallel()
	p := newTopic(t)
	first := p.owner(t, 1)
	write(t, first, 1, progress(1, "0/20"))
	second := p.open(t)
	if err := second.Fence(bounded(t)); err != nil {
		t.Fatal(err)
	}
	if got := resume(t, second); got != "0/20" {
		t.Errorf("position %s", got)
	}
	for range 2 { // and it stays so
		if err := first.Write(bounded(t), 1, progress(1, "0/30")); !errors.Is(err, kafkastate.ErrFenced) {
			t.Errorf("a zombie's write: %v", err)
		}
	}
	write(t, second, 2, progress(2, "0/25"))
	if got := resume(t, p.open(t)); got != "0/25" {
		t.Errorf("position %s, want the second's", got)
	}
}

// A zombie whose client is new, after an error, does not fence its successor.
func TestZombieAfterAnErrorFencesNobody(t *testing.T) {
	t.Parallel()
	p := newTopic(t)
	first := p.owner(t, 1)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := first.Write(ended, 1, progress(1, "0/20")); err == nil {
		t.Fatal("written without time")
	}
	second := p.owner(t, 2)
	if err := first.Write(bounded(t), 1, progress(1, "0/30")); !errors.Is(err, kafkastate.ErrFenced) {
		t.Errorf("a zombie's write: %v", err)
	}
	write(t, second, 2, progress(2, "0/40"))
}

// What a write with an unknown outcome was about can be written again, by the same log.
func TestWriteAgain(t *testing.T) {
	t.Parallel()
	p := newTopic(t)
	l := p.owner(t, 1)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Write(ended, 1, progress(1, "0/20")); err == nil {
		t.Fatal("written without time")
	}
	write(t, l, 1, progress(1, "0/30"))
	if got := resume(t, p.open(t)); got != "0/30" {
		t.Errorf("position %s", got)
	}
}

// Slots share a topic, and see nothing of each other but that they are there.
func TestSlotsShareATopic(t *testing.T) {
	t.Parallel()
	p := newTopic(t)
	l := p.owner(t, 1)
	c := p.config()
	c.Slot = "other"
	other, err := kafkastate.Open(bounded(t), c)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := other.Fence(bounded(t)); err != nil {
		t.Fatal(err)
	}
	if got := resume(t, other); got != "" {
		t.Errorf("position %s", got)
	}
	err = other.View(func(s *kafkastate.Slot) {
		if _, ok := s.Others[slot]; !ok || len(s.Others) != 1 {
			t.Errorf("others %v", s.Others)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	write(t, l, 1, progress(1, "0/20")) // it was not fenced
}

func unusable(t *testing.T, err error, what string) {
	t.Helper()
	u, ok := errors.AsType[*kafkastate.UnusableError](err)
	if !ok || !strings.Contains(u.What, what) || u.Remedy == "" {
		t.Errorf("error %v, want that about %q", err, what)
	}
}

func TestUnusableTopics(t *testing.T) {
	t.Parallel()
	brokers := kafkaserver.ForTest(t)
	admin := kadm.NewClient(kafkaserver.Client(t, brokers))
	compact, remove := "compact", "compact,delete"
	for what, made := range map[string]func(name string) error{
		"does not exist": func(string) error { return nil },
		"has 2 partitions": func(name string) error {
			_, err := admin.CreateTopic(t.Context(), 2, 1, map[string]*string{"cleanup.policy": &compact}, name)
			return err
		},
		"has cleanup.policy=compact,delete": func(name string) error {
			_, err := admin.CreateTopic(t.Context(), 1, 1, map[string]*string{"cleanup.policy": &remove}, name)
			return err
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			p := topic{brokers, kafkaserver.Name(t, "state")}
			if err := made(p.name); err != nil {
				t.Fatal(err)
			}
			c := p.config()
			c.Create = what != "does not exist"
			_, err := kafkastate.Open(bounded(t), c)
			unusable(t, err, what)
		})
	}
}

// A record of the slot that cannot be read ends everything; another slot's does not.
func TestUnreadableRecord(t *testing.T) {
	t.Parallel()
	for key, value := range map[string]string{
		slot + "/progress":   "{",
		slot + "/control":    `{"v":2,"paused":true}`,
		slot + "/mark/1/2/3": `{"v":1,"status":"parked"}`, // of no row
		slot + "/row/1/2/3":  `{"v":1,"status":"lost"}`,
		slot + "/request/1":  `{"v":1,"id":1,"action":"drop"}`,
		slot + "/dessert":    `{"v":1}`,
		slot:                 `{"v":1}`,
	} {
		t.Run(strings.ReplaceAll(key, "/", "_"), func(t *testing.T) {
			t.Parallel()
			p := newTopic(t)
			l := p.owner(t, 1)
			p.raw(t, "other/progress", "{")
			if got := resume(t, l); got != "0/10" {
				t.Errorf("position %s", got)
			}
			p.raw(t, key, value)
			unusable(t, l.End(bounded(t)), p.name)
			unusable(t, l.Write(bounded(t), 1, progress(1, "0/20")), p.name)
			unusable(t, p.open(t).Fence(bounded(t)), p.name)
		})
	}
}

// What a relay left open that died in the middle of a write is aborted, and the topic is
// read to its end.
func TestRelease(t *testing.T) {
	t.Parallel()
	p := newTopic(t)
	l := p.owner(t, 1)
	dead := kafkaserver.Client(t, p.brokers, kgo.TransactionalID(kafkastate.TransactionalID(p.name, slot)))
	if err := dead.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := dead.ProduceSync(t.Context(), &kgo.Record{Topic: p.name, Key: []byte(slot + "/progress"), Value: []byte("{")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	soon, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := l.End(soon); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("end beside an open transaction: %v", err)
	}
	if err := l.Release(bounded(t)); err != nil {
		t.Fatal(err)
	}
	if got := resume(t, l); got != "0/10" {
		t.Errorf("position %s", got)
	}
	if err := l.Release(bounded(t)); err != nil { // and where there is none nothing happens
		t.Fatal(err)
	}
	if err := p.open(t).Fence(bounded(t)); err != nil {
		t.Fatal(err)
	}
}

// Parked rows are known without their bytes, which come from the topic.
func TestBytesOfRows(t *testing.T) {
	t.Parallel()
	p := newTopic(t)
	l := p.owner(t, 1)
	key := "k"
	var entries []kafkastate.Entry
	for i := range 3 {
		e, err := kafkastate.RowEntry(slot, kafkastate.Place{Timeline: 1, Commit: 0xABC, Index: int64(i)}, kafkastate.Row{
			ID: uuid.New(), Table: "t", RowKey: &key, Key: []byte(key), Value: []byte{byte(i), 0, 255}, Blocks: true, Status: kafkastate.Parked,
		}, l.MaxBytes())
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	write(t, l, 1, entries...)
	for _, l := range []*kafkastate.Log{l, p.open(t)} {
		if err := l.End(bounded(t)); err != nil {
			t.Fatal(err)
		}
		var held []*kafkastate.Held
		if err := l.View(func(s *kafkastate.Slot) { held = s.Rows() }); err != nil {
			t.Fatal(err)
		}
		if len(held) != 3 || held[0].Row.Value != nil {
			t.Fatalf("held %+v", held)
		}
		rows, err := l.Fetch(bounded(t), []*kafkastate.Held{held[2], held[0]})
		if err != nil {
			t.Fatal(err)
		}
		if got := rows[held[2].At].Value; len(rows) != 2 || string(got) != "\x02\x00\xff" {
			t.Errorf("bytes %x of %d rows", got, len(rows))
		}
	}
}

// A topic that is deleted and made again under the relay is not written to as if nothing
// had happened.
func TestTopicMadeAgain(t *testing.T) {
	t.Parallel()
	p := newTopic(t)
	l := p.owner(t, 1)
	for range 5 {
		write(t, l, 1, progress(1, "0/20"))
	}
	admin := kadm.NewClient(kafkaserver.Client(t, p.brokers))
	if _, err := admin.DeleteTopics(t.Context(), p.name); err != nil {
		t.Fatal(err)
	}
	kafkaserver.CreateTopic(t, p.brokers, p.name, 1)
	for ctx := bounded(t); ctx.Err() == nil; {
		bounded, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := l.Write(bounded, 1, progress(1, "0/30"))
		cancel()
		if err == nil {
			t.Fatal("written")
		}
		if _, ok := errors.AsType[*kafkastate.UnusableError](err); ok || errors.Is(err, kafkastate.ErrFenced) {
			unusable(t, err, p.name)
			return
		}
		t.Log(err)
	}
	t.Error("not found out")
}
