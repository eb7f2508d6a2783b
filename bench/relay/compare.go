package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/bench/internal/bed"
	"github.com/gapless/gapless/goose"
	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgserver"
)

type result struct {
	elapsed, cpu time.Duration
	rss          int64 // bytes
}

const topic = "outbox.event.order"

func compare(ctx context.Context, s settings) error {
	slots := strconv.Itoa(10 + 3*s.databases)
	pg, err := pgserver.Start(ctx, pgserver.Config{Settings: map[string]string{
		"max_wal_size": "8GB", "checkpoint_timeout": "1h", "max_replication_slots": slots, "max_wal_senders": slots, "max_connections": "200",
	}})
	if err != nil {
		return err
	}
	defer farewell(ctx, "postgres", pg.Stop)
	if s.brokers == "" {
		kafka, err := kafkaserver.StartKafka(ctx, kafkaserver.KafkaConfig{})
		if err != nil {
			return err
		}
		defer farewell(ctx, "kafka", kafka.Stop)
		s.brokers = strings.Join(kafka.Brokers(), ",")
	}
	whole, err := fill(ctx, pg.SuperuserURL(), "original", s)
	if err != nil {
		return err
	}
	defer whole.conn.Close(ctx)
	bases := map[string][]base{"drop": {whole}, "relay": {whole}, "expand": {whole}, "debezium": {whole}, "peer": {whole}}
	contenders := []string{"drop", "relay"}
	if s.expand {
		contenders = append(contenders, "expand")
	}
	if s.debezium {
		contenders = append(contenders, "debezium")
	}
	if s.peer != "" {
		contenders = append(contenders, "peer")
	}
	if s.databases > 1 {
		contenders = append(contenders, "relays")
		each := s
		each.events /= s.databases
		for i := range s.databases {
			part, err := beside(ctx, whole, fmt.Sprintf("part_%d", i), each)
			if err != nil {
				return err
			}
			defer part.conn.Close(ctx)
			bases["relays"] = append(bases["relays"], part)
		}
	}
	results := map[string][]result{}
	for i := range s.runs {
		for j := range contenders {
			name := contenders[(i+j)%len(contenders)] // neither always goes first
			r, err := one(ctx, bases[name], s, name, i)
			if err != nil {
				return fmt.Errorf("run %d of %s: %w", i+1, name, err)
			}
			fmt.Fprintf(os.Stderr, "run %d %-8s %8.0f events/s %6.2f µs CPU an event %4d MB\n", i+1, name,
				float64(s.events)/r.elapsed.Seconds(), float64(r.cpu.Microseconds())/float64(s.events), r.rss>>20)
			results[name] = append(results[name], r)
		}
	}
	return report(s, results)
}

func farewell(ctx context.Context, name string, stop func(context.Context) error) {
	if err := stop(context.WithoutCancel(ctx)); err != nil {
		fmt.Fprintf(os.Stderr, "stop %s: %v\n", name, err)
	}
}

// base is a database with a backlog behind the one slot that all copies are made of.
type base struct {
	conn     *pgx.Conn
	original string
}

func fill(ctx context.Context, url, original string, s settings) (b base, err error) {
	if _, err := goose.Up(ctx, goose.Config{DatabaseURL: url, NoSlot: true}); err != nil {
		return b, err
	}
	b.original = original
	if b.conn, err = pgx.Connect(ctx, url); err != nil {
		return b, err
	}
	return b, backlog(ctx, b, s)
}

// beside is fill for another database of the same server.
func beside(ctx context.Context, first base, name string, s settings) (b base, err error) {
	if _, err := first.conn.Exec(ctx, "create database "+pgx.Identifier{name}.Sanitize()); err != nil {
		return b, err
	}
	u, err := url.Parse(first.conn.Config().ConnString())
	if err != nil {
		return b, err
	}
	u.Path = "/" + name
	return fill(ctx, u.String(), name, s)
}

// manyEvents is from where on a backlog is written set by set.
const manyEvents = 1_000_000

func backlog(ctx context.Context, b base, s settings) error {
	insert := `insert into gapless.outbox (aggregatetype, aggregateid, aggregate_version, type, payload, headers)
				select 'order', 'o-' || i, 1, 'OrderPlaced', convert_to(repeat('0123456789', ` + strconv.Itoa(s.payload/10) + `), 'UTF8'),
					'{"content-type": "application/json", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}'`
	if s.debezium || s.expand || s.peer != "" {
		insert = `insert into events (aggregatetype, aggregateid, type, payload)
				select 'order', 'o-' || i, 'OrderPlaced', jsonb_build_object('order_id', i, 'customer', 'c-' || i % 1000, 'currency', 'USD',
					'total', i * 1.25, 'express', i % 2 = 0, 'note', null, 'items', jsonb_build_array(
						jsonb_build_object('sku', 'A-1', 'quantity', 2, 'price', 12.5), jsonb_build_object('sku', 'B-7', 'quantity', 1, 'price', 99.5)),
					'address', jsonb_build_object('line1', '1 Main St', 'city', 'San Francisco', 'postal_code', '94107', 'country', 'US'))`
	}
	body := `
			for i in 1..n loop
				insert into orders values (i, 'c-' || i % 1000, i);
				` + insert + `;
				if i % per = 0 then commit; end if;
			end loop;`
	if s.events > manyEvents {
		// A statement for each transaction: one for each row takes longer than all else.
		body = `
			for f in 0..n/per-1 loop
				insert into orders select i, 'c-' || i % 1000, i from generate_series(f*per + 1, f*per + per) as i;
				` + insert + ` from generate_series(f*per + 1, f*per + per) as i;
				commit;
			end loop;`
	}
	for _, statement := range []string{
		`create table orders (order_id bigint primary key, customer text, total bigint)`,
		`create table events (id uuid primary key default gen_random_uuid(), aggregatetype text, aggregateid text, type text, payload jsonb)`,
		`alter publication gapless add table events`,
		`select pg_create_logical_replication_slot('` + b.original + `', 'pgoutput')`,
		`create procedure fill(n int, per int) language plpgsql as $$
		begin` + body + `
		end $$`,
	} {
		if _, err := b.conn.Exec(ctx, statement); err != nil {
			return err
		}
	}
	began := time.Now()
	if _, err := b.conn.Exec(ctx, fmt.Sprintf("call fill(%d, %d)", s.events, s.batch)); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "backlog of %d events written in %s\n", s.events, time.Since(began).Round(time.Millisecond))
	_, err := b.conn.Exec(ctx, "checkpoint")
	return err
}

// one runs a contender on a copy of each base's slot.
func one(ctx context.Context, bases []base, s settings, name string, i int) (r result, err error) {
	var urls, slots []string
	for _, b := range bases {
		slot := fmt.Sprintf("copy_%s_%s_%d", name, b.original, i)
		if _, err := b.conn.Exec(ctx, "select pg_copy_logical_replication_slot($1, $2)", b.original, slot); err != nil {
			return r, err
		}
		urls, slots = append(urls, b.conn.Config().ConnString()), append(slots, slot)
	}
	if err := freshTopic(ctx, s); err != nil {
		return r, err
	}
	events := s.events / len(bases) * len(bases)
	switch name {
	case "debezium":
		r, err = debezium(ctx, s, urls[0], slots[0])
	case "peer":
		r, err = peer(ctx, s, urls[0], slots[0])
	default:
		r, err = child(ctx, name, "-url", strings.Join(urls, ","), "-slot", strings.Join(slots, ","),
			"-brokers", s.brokers, "-events", strconv.Itoa(events), "-profile", s.profile)
	}
	if err != nil {
		return r, err
	}
	for i, b := range bases {
		if err := drop(ctx, b.conn, slots[i]); err != nil {
			return r, err
		}
	}
	return r, nil
}

func child(ctx context.Context, name string, flags ...string) (r result, err error) {
	exe, err := os.Executable()
	if err != nil {
		return r, err
	}
	cmd := exec.CommandContext(ctx, exe, append([]string{"-child", name}, flags...)...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return r, err
	}
	r.elapsed = time.Since(began)
	r.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	r.rss = cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
	return r, nil
}

func drop(ctx context.Context, conn *pgx.Conn, slot string) (err error) {
	for range 50 {
		if _, err = conn.Exec(ctx, "select pg_drop_replication_slot($1)", slot); err == nil {
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond): // the walsender is still leaving
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}

func freshTopic(ctx context.Context, s settings) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(s.brokers, ",")...))
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	_, _ = admin.DeleteTopic(ctx, topic) // the first run has none
	for isMade := false; ; {
		var err error
		if !isMade {
			_, err = admin.CreateTopic(ctx, int32(s.partitions), 1, nil, topic)
			isMade = err == nil
		}
		if isMade {
			var offsets kadm.ListedOffsets // every leader knows of it: not every contender waits
			if offsets, err = admin.ListEndOffsets(ctx, topic); err == nil {
				err = offsets.Error()
			}
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(100 * time.Millisecond): // still being deleted
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Summary is what -out writes.
type Summary struct {
	Events, Batch, Partitions, Runs int
	Contenders                      []Contender
}

// Contender has the medians of its runs.
type Contender struct {
	Name           string
	EventsPerS     float64
	CPUMicrosEvent float64
	PeakMB         float64
}

func report(s settings, results map[string][]result) error {
	sum := Summary{s.events, s.batch, s.partitions, s.runs, nil}
	for _, c := range []struct{ key, name string }{
		{"drop", "receive and drop"},
		{"relay", "relay to Kafka"},
		{"expand", "relay, JSON expanded"},
		{"relays", fmt.Sprintf("%d relays of %d databases", s.databases, s.databases)},
		{"debezium", "Debezium " + kafkaserver.DebeziumVersion},
		{"peer", filepath.Base(s.peer)},
	} {
		if rs := results[c.key]; len(rs) > 0 {
			sum.Contenders = append(sum.Contenders, Contender{
				Name:           c.name,
				EventsPerS:     median(rs, func(r result) float64 { return float64(s.events) / r.elapsed.Seconds() }),
				CPUMicrosEvent: median(rs, func(r result) float64 { return float64(r.cpu.Nanoseconds()) / 1000 / float64(s.events) }),
				PeakMB:         median(rs, func(r result) float64 { return float64(r.rss) / (1 << 20) }),
			})
		}
	}
	fmt.Printf("%d events in transactions of %d, %d partitions, medians of %d; %s/%s, %d CPUs, %s\n\n",
		s.events, s.batch, s.partitions, s.runs, runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version())
	fmt.Println("| contender | events/s | CPU µs an event | peak RSS MB |")
	fmt.Println("| --- | --- | --- | --- |")
	for _, c := range sum.Contenders {
		fmt.Printf("| %s | %.0f | %.2f | %.0f |\n", c.Name, c.EventsPerS, c.CPUMicrosEvent, c.PeakMB)
	}
	if s.out == "" {
		return nil
	}
	text, err := json.MarshalIndent(sum, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(s.out, append(text, '\n'), 0o600)
}

func median(rs []result, of func(result) float64) float64 {
	v := make([]float64, len(rs))
	for i, r := range rs {
		v[i] = of(r)
	}
	return bed.Median(v)
}
