// Command grown measures whether checkout and relay get slower as the outbox grows: two
// databases on one durable Postgres, one with an empty outbox and one with rows of many
// days, take turns.
//
//	go run ./bench/grown [-rows 20000000] [-days 20] [-runs 5] [-for 10s]
//
// A turn is a window in which workers commit transactions of one row of a table and one
// event as fast as they can, then the relay's draining of them to Kafka. At the end the
// old days are dropped by retention, as the relay would do it, and each statement's time
// is printed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/gapless/gapless/bench/internal/bed"
	"github.com/gapless/gapless/goose"
	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgserver"
	"github.com/gapless/gapless/outbox"
	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/format"
)

type settings struct {
	rows, days, runs, workers int
	window                    time.Duration
	brokers                   []string
}

func main() {
	var s settings
	flag.IntVar(&s.rows, "rows", 20_000_000, "rows in the grown outbox")
	flag.IntVar(&s.days, "days", 20, "days that they are of")
	flag.IntVar(&s.runs, "runs", 5, "turns of each database")
	flag.IntVar(&s.workers, "workers", 16, "connections that commit")
	flag.DurationVar(&s.window, "for", 10*time.Second, "length of a turn")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := measure(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "bench grown:", err)
		stop()
		os.Exit(1)
	}
}

// database is one of the two.
type database struct {
	name, url string
	pool      *pgxpool.Pool
	commits   []float64 // a second, of each turn
	p99       []float64 // ms
	relayed   []float64 // events a second
}

func measure(ctx context.Context, s settings) (err error) {
	pg, err := pgserver.Start(ctx, pgserver.Config{Durable: true, Settings: map[string]string{
		"max_wal_size": "8GB", "checkpoint_timeout": "10min", "maintenance_work_mem": "512MB", "shared_buffers": "2GB",
	}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pg.Stop(context.WithoutCancel(ctx))) }()
	kafka, err := kafkaserver.StartKafka(ctx, kafkaserver.KafkaConfig{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kafka.Stop(context.WithoutCancel(ctx))) }()
	s.brokers = kafka.Brokers()
	if err := makeTopic(ctx, s.brokers); err != nil {
		return err
	}
	var both []*database
	for _, name := range []string{"grown", "empty"} { // the slot of the second has no filling to read
		d, err := prepare(ctx, pg.SuperuserURL(), name, s)
		if err != nil {
			return fmt.Errorf("prepare %s: %w", name, err)
		}
		defer d.pool.Close()
		both = append(both, d)
	}
	for i := range s.runs {
		for j := range both {
			d := both[(i+j)%len(both)] // neither always goes first
			if err := d.turn(ctx, s); err != nil {
				return fmt.Errorf("turn %d of %s: %w", i+1, d.name, err)
			}
			fmt.Fprintf(os.Stderr, "turn %d %-5s %6.0f commits/s, p99 %5.1f ms; relayed at %6.0f/s\n",
				i+1, d.name, d.commits[i], d.p99[i], d.relayed[i])
		}
	}
	fmt.Printf("%d rows of %d days against none, %d workers, medians of %d\n\n", s.rows, s.days, s.workers, s.runs)
	fmt.Println("| outbox | commits/s | p99 ms | relayed/s |\n| --- | --- | --- | --- |")
	for _, d := range both {
		fmt.Printf("| %s | %.0f | %.1f | %.0f |\n", d.name, bed.Median(d.commits), bed.Median(d.p99), bed.Median(d.relayed))
	}
	return both[0].retire(ctx, s)
}

func makeTopic(ctx context.Context, brokers []string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return err
	}
	defer client.Close()
	_, err = kadm.NewClient(client).CreateTopic(ctx, 32, 1, nil, "outbox.event.order")
	return err
}

func prepare(ctx context.Context, server, name string, s settings) (*database, error) {
	admin, err := pgx.Connect(ctx, server)
	if err != nil {
		return nil, err
	}
	defer admin.Close(ctx)
	if _, err := admin.Exec(ctx, "create database "+name); err != nil {
		return nil, err
	}
	u, err := url.Parse(server)
	if err != nil {
		return nil, err
	}
	u.Path = "/" + name
	d := &database{name: name, url: u.String()}
	if _, err := goose.Up(ctx, goose.Config{DatabaseURL: d.url, NoSlot: true}); err != nil {
		return nil, err
	}
	pool, err := pgxpool.ParseConfig(d.url)
	if err != nil {
		return nil, err
	}
	pool.MaxConns = int32(s.workers + 1)
	if d.pool, err = pgxpool.NewWithConfig(ctx, pool); err != nil {
		return nil, err
	}
	if _, err := d.pool.Exec(ctx, "create table orders (order_id bigint generated always as identity primary key, customer text, total bigint)"); err != nil {
		return nil, err
	}
	if _, err := d.pool.Exec(ctx, "select pg_create_logical_replication_slot($1, 'pgoutput')", d.name); err != nil {
		return nil, err
	}
	if name == "grown" {
		if err := d.grow(ctx, s); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// grow fills the outbox while a relay passes what comes: a slot that had not sent it would
// be refused. Its last event lies behind what VACUUM writes, so that no turn reads that.
func (d *database) grow(ctx context.Context, s settings) error {
	if _, err := d.pool.Exec(ctx, fmt.Sprintf(days, s.days)); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := d.fill(gctx, s); err != nil {
			return err
		}
		for _, statement := range []string{"vacuum (freeze, analyze) gapless.outbox", "checkpoint", last} {
			if _, err := d.pool.Exec(gctx, statement); err != nil {
				return err
			}
		}
		return nil
	})
	g.Go(func() error {
		_, err := d.stream(gctx, discard{}, int64(s.rows/s.days*s.days)+1)
		return err
	})
	return g.Wait()
}

// last is an event behind all others.
const last = "insert into gapless.outbox (aggregatetype, aggregateid, type) values ('order', 'last', 'T')"

// discard is a sink that has kept each record at once.
type discard struct{}

func (discard) Send(r *format.Record, ack func(*format.Record, error)) error {
	ack(r, nil)
	return nil
}

func (discard) Reset(context.Context) error { return nil }

func (discard) Close(context.Context) error { return nil }

// days makes a partition for each of the last n days, and what is older and newer.
const days = `do $$
	declare
		p regclass;
		today date := (now() at time zone 'UTC')::date;
		n int := %d;
	begin
		for p in select inhrelid::regclass from pg_inherits where inhparent = 'gapless.outbox'::regclass loop
			execute format('drop table %%s', p);
		end loop;
		for d in 0..n+1 loop
			perform gapless.partition_attach('gapless.outbox', 'outbox_p' || to_char(today - n + d, 'YYYYMMDD') || case d when n + 1 then '_max' else '' end,
				case d when 0 then 'MINVALUE' else quote_literal(today - n + d || ' 00:00:00+00') end,
				case d when n + 1 then 'MAXVALUE' else quote_literal(today - n + 1 + d || ' 00:00:00+00') end);
		end loop;
	end $$`

const fill = `insert into gapless.outbox (id, aggregatetype, aggregateid, aggregate_version, type, payload, headers, created_at)
	select gapless.uuid7(at), 'order', 'o-' || i, 1, 'OrderPlaced', convert_to(repeat('0123456789', 35), 'UTF8'),
		'{"content-type": "application/json", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}', at
	from generate_series($1::bigint, $2::bigint) i, lateral (select $3::timestamptz + (i - $1) * interval '1 day' / ($2 - $1 + 1) as at) as x`

func (d *database) fill(ctx context.Context, s settings) error {
	began := time.Now()
	perDay := s.rows / s.days
	midnight := time.Now().UTC().Truncate(24 * time.Hour)
	for day := range s.days {
		from := day * perDay
		if _, err := d.pool.Exec(ctx, fill, from, from+perDay-1, midnight.AddDate(0, 0, day-s.days)); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "\rfilled %d of %d rows in %s", from+perDay, s.rows, time.Since(began).Round(time.Second))
	}
	fmt.Fprintln(os.Stderr)
	return nil
}

func (d *database) turn(ctx context.Context, s settings) error {
	times, err := d.checkout(ctx, s)
	if err != nil {
		return err
	}
	slices.Sort(times)
	d.commits = append(d.commits, float64(len(times))/s.window.Seconds())
	d.p99 = append(d.p99, float64(times[len(times)*99/100].Microseconds())/1000)
	took, err := d.drain(ctx, s, int64(len(times)))
	if err != nil {
		return err
	}
	d.relayed = append(d.relayed, float64(len(times))/took.Seconds())
	return nil
}

func (d *database) checkout(ctx context.Context, s settings) (times []time.Duration, err error) {
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	until := time.Now().Add(s.window)
	payload := []byte(strings.Repeat("0123456789", 35))
	for w := range s.workers {
		g.Go(func() error {
			var mine []time.Duration
			for i := 0; time.Now().Before(until) && gctx.Err() == nil; i++ {
				began := time.Now()
				err := pgx.BeginFunc(gctx, d.pool, func(tx pgx.Tx) error {
					if _, err := tx.Exec(gctx, "insert into orders (customer, total) values ($1, $2)", "c", i); err != nil {
						return err
					}
					return outbox.Append(gctx, tx, outbox.Event{
						AggregateType: "order", AggregateID: fmt.Sprintf("o-%d-%d", w, i), AggregateVersion: 1, Type: "OrderPlaced",
						Payload: payload, Headers: map[string]string{"content-type": "application/json"},
					})
				})
				if err != nil {
					return err
				}
				mine = append(mine, time.Since(began))
			}
			mu.Lock()
			defer mu.Unlock()
			times = append(times, mine...)
			return nil
		})
	}
	return times, g.Wait()
}

var log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))

// drain runs a relay until it has sent n events to Kafka.
func (d *database) drain(ctx context.Context, s settings, n int64) (time.Duration, error) {
	sink, err := relay.NewKafkaSink(relay.KafkaConfig{Brokers: s.brokers, Logger: log})
	if err != nil {
		return 0, err
	}
	return d.stream(ctx, sink, n)
}

// stream runs a relay until n events are acknowledged.
func (d *database) stream(ctx context.Context, sink relay.Sink, n int64) (time.Duration, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var acked atomic.Int64
	var end time.Time
	r, err := relay.New(relay.Config{
		DatabaseURL: d.url, Slot: d.name, Sink: sink, Logger: log,
		Hooks: relay.Hooks{Acked: func(*format.Record, time.Duration) {
			if acked.Add(1) == n {
				end = time.Now()
				cancel()
			}
		}},
	})
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := r.Run(ctx); err != nil {
		return 0, err
	}
	if end.IsZero() {
		return 0, context.Cause(ctx)
	}
	return end.Sub(began), nil
}

// retire drops the old days, while workers commit.
func (d *database) retire(ctx context.Context, s settings) error {
	// A relay proves what it has passed; then it is stopped, so that it does not do this itself.
	if _, err := d.pool.Exec(ctx, last); err != nil {
		return err
	}
	if _, err := d.drain(ctx, s, 1); err != nil {
		return err
	}
	done := make(chan []time.Duration, 1)
	failed := make(chan error, 1)
	go func() {
		times, err := d.checkout(ctx, s)
		failed <- err
		done <- times
	}()
	for _, statement := range []string{"select gapless.outbox_retire('1 day')", "select dropped from gapless.outbox_drop_retired()"} {
		began := time.Now()
		var n int
		if err := d.pool.QueryRow(ctx, statement).Scan(&n); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
		fmt.Printf("%s: %d partitions in %s\n", statement, n, time.Since(began).Round(time.Millisecond))
	}
	if err := <-failed; err != nil {
		return err
	}
	times := <-done
	slices.Sort(times)
	fmt.Printf("commits meanwhile: p99 %s, the longest %s\n", times[len(times)*99/100].Round(100*time.Microsecond), times[len(times)-1].Round(time.Millisecond))
	return nil
}
