package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gapless/gapless/bench/faults/check"
	"github.com/gapless/gapless/bench/internal/bed"
	"github.com/gapless/gapless/internal/process"
	"github.com/gapless/gapless/relay/core"
)

const (
	runTime   = 5 * time.Minute
	drainTime = 90 * time.Second // after the healing: a client's longest pause is 10 s, and a backlog takes its time
	readyTime = 30 * time.Second
)

// run is one fault with one seed.
type run struct {
	*world
	fault   *fault
	seed    uint64
	rng     *rand.Rand
	dir     string
	kind    string // aggregate type
	broker  *broker
	load    *load
	readers []*reader // the first is of the topic that every run has

	relays   []*bed.Service
	password string // of Postgres

	began, healed time.Time
	proof         []string
}

// result is what came of a run.
type result struct {
	fault          *fault
	seed           uint64
	dir            string
	took           time.Duration
	proof          []string
	verdict        check.Verdict
	first, drained time.Duration
	err            error // the run could not be brought to its end
}

func (w *world) run(ctx context.Context, f *fault, seed uint64) *result {
	start := time.Now()
	name := fmt.Sprintf("%s-seed%d", f.name, seed)
	r := &run{
		world: w, fault: f, seed: seed, rng: rand.New(rand.NewPCG(seed, uint64(len(f.name)))), password: relayPassword, broker: w.broker,
		dir: filepath.Join(w.logs, name),
		// Another campaign's topics are on another broker, but a run may be made twice.
		kind: fmt.Sprintf("%s.%d.%d", f.name, seed, start.UnixMilli()),
	}
	res := &result{fault: f, seed: seed, dir: r.dir}
	ctx, cancel := context.WithTimeoutCause(ctx, runTime, fmt.Errorf("the run took longer than %s", runTime))
	defer cancel()
	h, err := r.whole(ctx)
	res.took, res.proof, res.err = time.Since(start), r.proof, err
	if h != nil {
		res.verdict = check.Judge(h)
		var ok bool
		if res.first, res.drained, ok = check.Recovery(h); !ok && err == nil {
			res.err = errors.New("no new record came after the healing")
		}
	}
	return res
}

// whole is the run from its first process to its history.
func (r *run) whole(ctx context.Context) (h *check.History, err error) {
	if err := os.MkdirAll(r.dir, 0o755); err != nil { //nolint:gosec // test data
		return nil, err
	}
	if r.fault.broker != nil {
		if r.broker, err = r.fault.broker(ctx, r); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, r.broker.close(context.WithoutCancel(ctx))) }()
	}
	defer func() { err = errors.Join(err, r.cleanUp()) }()
	if err := r.broker.topic(ctx, topicOf(r.kind)); err != nil {
		return nil, err
	}
	if _, err := r.read(0, topicOf(r.kind)); err != nil {
		return nil, err
	}
	r.load = startLoad(ctx, r.pg.SuperuserURL(), r.seed, r.kind)
	defer r.load.end()
	if !r.fault.cold {
		if _, err := r.start(ctx, "a"); err != nil {
			return nil, err
		}
		if err := r.flows(ctx, 100); err != nil {
			return nil, err
		}
		// The moment is the seed's.
		if err := pause(ctx, time.Duration(r.rng.IntN(500))*time.Millisecond); err != nil {
			return nil, err
		}
	}
	if err := r.fault.make(ctx, r); err != nil {
		return nil, fmt.Errorf("%w%s", err, r.words())
	}
	switch {
	case len(r.proof) == 0:
		return nil, errors.New("the fault never fired")
	case r.began.IsZero() || r.healed.IsZero():
		return nil, errors.New("the fault does not say when it began and healed")
	}
	if err := r.flows(ctx, 100); err != nil {
		return nil, fmt.Errorf("after the healing: %w%s", err, r.words())
	}
	r.load.end()
	drainErr := r.drained(ctx)
	stopErr := r.stopRelays()
	h, err = r.history(ctx)
	return h, errors.Join(drainErr, stopErr, err)
}

// begins notes that something is wrong from now on.
func (r *run) begins() { r.began = time.Now() }

// heals notes that nothing is wrong any more.
func (r *run) heals() { r.healed = time.Now() }

// beginsAndHeals notes a fault that nobody mends.
func (r *run) beginsAndHeals() {
	r.begins()
	r.healed = r.began
}

// proves notes that the fault fired.
func (r *run) proves(format string, args ...any) {
	r.proof = append(r.proof, fmt.Sprintf(format, args...))
}

// start starts a relay and waits until it streams or stands by.
func (r *run) start(ctx context.Context, name string) (*bed.Service, error) {
	s, err := r.launch(ctx, name)
	if err != nil {
		return s, err
	}
	return s, r.up(ctx, s)
}

// launch starts a relay. One of a name that was there before goes on in its log.
func (r *run) launch(ctx context.Context, name string) (*bed.Service, error) {
	s := r.relay(name)
	if s == nil {
		port, err := process.FreePort(ctx)
		if err != nil {
			return nil, err
		}
		address := "127.0.0.1:" + strconv.Itoa(port)
		s = &bed.Service{
			Name: "relay " + name, Path: r.binary, Ops: "http://" + address, Log: filepath.Join(r.dir, "relay-"+name+".log"),
			Args: []string{"relay", "run", "--ops-listen", address},
		}
		if r.fault.flags != nil {
			s.Args = append(s.Args, r.fault.flags(r)...)
		}
		r.relays = append(r.relays, s)
	}
	s.Env = append(os.Environ(), "GAPLESS_DATABASE_URL="+r.relayURL(r.password), "GAPLESS_LOG_LEVEL=info", "GAPLESS_LOG_FORMAT=json")
	if !strings.Contains(strings.Join(s.Args, " "), "--brokers") {
		s.Env = append(s.Env, "GAPLESS_BROKERS="+strings.Join(r.broker.seeds, ","))
	}
	return s, s.Start("")
}

func (r *run) relay(name string) *bed.Service {
	for _, s := range r.relays {
		if s.Name == "relay "+name {
			return s
		}
	}
	return nil
}

func (r *run) up(ctx context.Context, s *bed.Service) error {
	return r.until(ctx, s, readyTime, "streaming or standing by", func(ctx context.Context) bool {
		state := status(ctx, s)
		return state == "streaming" || state == "standby"
	})
}

// until is [bed.Service.Until], for which a death is an error.
func (r *run) until(ctx context.Context, s *bed.Service, limit time.Duration, what string, look func(context.Context) bool) error {
	alive, err := s.Until(ctx, limit, what, look)
	if err == nil && !alive {
		err = fmt.Errorf("%s ended before it was %s: %w", s.Name, what, s.Proc.Err())
	}
	return err
}

// streams waits until the relay has the slot.
func (r *run) streams(ctx context.Context, s *bed.Service) error {
	return r.until(ctx, s, readyTime, "streaming", s.Streams)
}

// says waits until the relay has written the words into its log.
func (r *run) says(ctx context.Context, s *bed.Service, words string) error {
	return r.until(ctx, s, readyTime, fmt.Sprintf("saying %q", words), func(context.Context) bool {
		text, err := s.Words()
		return err == nil && strings.Contains(text, words)
	})
}

// status is a relay's state; "" when it does not answer.
func status(ctx context.Context, s *bed.Service) string {
	text, ok := s.Ask(ctx, "/status")
	var v struct {
		State struct{ State string } `json:"state"`
	}
	if !ok || json.Unmarshal([]byte(text), &v) != nil {
		return ""
	}
	return v.State.State
}

// metric is the sum of a relay's series whose text begins so.
func metric(ctx context.Context, s *bed.Service, series string) (sum float64, err error) {
	text, ok := s.Ask(ctx, "/metrics")
	if !ok {
		return 0, fmt.Errorf("%s does not answer for its metrics", s.Name)
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, series) {
			fields := strings.Fields(line)
			v, err := strconv.ParseFloat(fields[len(fields)-1], 64)
			if err != nil {
				return 0, fmt.Errorf("metric %q: %w", line, err)
			}
			sum += v
		}
	}
	return sum, nil
}

const reconnects = "gapless_relay_reconnects_total"

// read follows a topic; remade is how often it was deleted and made again before.
func (r *run) read(remade int, topic string) (*reader, error) {
	reader, err := startReader(r.broker, remade, topic)
	if err == nil {
		r.readers = append(r.readers, reader)
	}
	return reader, err
}

// flows waits until n rows are in Kafka whose transactions began after now.
func (r *run) flows(ctx context.Context, n int) error {
	began := time.Now()
	return eventually(ctx, drainTime, func(context.Context) error {
		fresh := r.load.committedSince(began)
		have := 0
		for _, reader := range r.readers {
			have += reader.has(fresh)
		}
		if have < n {
			return fmt.Errorf("of the rows written from now on %d are in Kafka, and not %d, after %s", have, n, drainTime)
		}
		return nil
	})
}

// drained waits until every row that the database has is in Kafka.
func (r *run) drained(ctx context.Context) error {
	stored, err := r.stored(ctx)
	if err != nil {
		return err
	}
	return eventually(ctx, drainTime, func(context.Context) error {
		missing := len(stored)
		for _, reader := range r.readers {
			missing -= reader.has(stored)
		}
		if missing > 0 {
			return fmt.Errorf("%d of %d rows are not in Kafka %s after the load has ended", missing, len(stored), drainTime)
		}
		return nil
	})
}

// stored are the run's rows, by their ids.
func (r *run) stored(ctx context.Context) (map[string]bool, error) {
	return r.ids(ctx, "SELECT id::text FROM gapless.outbox WHERE aggregatetype LIKE $1 || '%'")
}

func (r *run) ids(ctx context.Context, query string) (map[string]bool, error) {
	var all map[string]bool
	// The pool's connections may be those of a server that was killed.
	err := eventually(ctx, readyTime, func(ctx context.Context) (err error) {
		all, err = r.idsNow(ctx, query)
		return err
	})
	return all, err
}

func (r *run) idsNow(ctx context.Context, query string) (map[string]bool, error) {
	all := map[string]bool{}
	rows, err := r.db.Query(ctx, query, r.kind)
	if err != nil {
		return nil, fmt.Errorf("read the database: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, fmt.Errorf("read the database: %w", err)
		}
		all[id] = true
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the database: %w", err)
	}
	return all, nil
}

// stopRelays asks all to end, and all must.
func (r *run) stopRelays() error {
	var errs []error
	for _, s := range r.relays {
		if s.Running() {
			errs = append(errs, s.Stop())
		}
	}
	return errors.Join(errs...)
}

// cleanUp leaves no process and no fault to the next run.
func (r *run) cleanUp() error {
	var errs []error
	for _, s := range r.relays {
		if s.Running() {
			_, err := s.Kill()
			errs = append(errs, err)
		}
	}
	for _, reader := range r.readers {
		reader.close()
	}
	return errors.Join(append(errs, r.toPG.Heal(), r.broker.heal())...)
}

// history gathers what the run did and found, and writes it to a file.
func (r *run) history(ctx context.Context) (*check.History, error) {
	h := &check.History{
		Fault: check.Fault{Name: r.fault.name, Seed: r.seed, Began: r.began, Healed: r.healed},
		Txns:  r.load.history(),
	}
	for _, reader := range r.readers {
		if err := reader.atEnd(ctx); err != nil {
			return nil, err
		}
		h.Records = append(h.Records, reader.close()...)
	}
	var err error
	if h.Stored, err = r.stored(ctx); err != nil {
		return nil, err
	}
	h.Parked, err = r.ids(ctx, "SELECT event_id::text FROM gapless.parked WHERE topic LIKE 'outbox.event.' || $1 || '%' AND event_id IS NOT NULL")
	if err != nil {
		return nil, err
	}
	for _, s := range r.relays {
		streams, err := streamsOf(s)
		if err != nil {
			return nil, err
		}
		h.Streams = append(h.Streams, streams...)
	}
	file, err := os.Create(filepath.Join(r.dir, "history.jsonl"))
	if err != nil {
		return nil, err
	}
	return h, errors.Join(h.Write(file), file.Close())
}

// streamsOf reads from a relay's log when it began to stream and where.
func streamsOf(s *bed.Service) ([]check.Stream, error) {
	file, err := os.Open(s.Log)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(file)
	if err != nil {
		return nil, err
	}
	var all []check.Stream
	for line := range strings.Lines(string(text)) {
		var entry struct {
			Time   time.Time `json:"time"`
			Msg    string    `json:"msg"`
			Resume core.LSN  `json:"resume"`
		}
		if strings.Contains(line, `"msg":"streaming"`) {
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				return nil, fmt.Errorf("read %s: %w", s.Log, err)
			}
			all = append(all, check.Stream{Relay: s.Name, Began: entry.Time, Resume: entry.Resume})
		}
	}
	return all, nil
}

// words are the last lines of the relays' logs, for an error.
func (r *run) words() string {
	var b strings.Builder
	for _, s := range r.relays {
		text, err := os.ReadFile(s.Log)
		if err != nil {
			continue
		}
		lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
		for _, line := range lines[max(0, len(lines)-5):] {
			fmt.Fprintf(&b, "\n    %s: %.300s", s.Name, line)
		}
	}
	return b.String()
}

// send sends a signal to a relay.
func send(s *bed.Service, sig syscall.Signal) error {
	if err := s.Proc.Signal(sig); err != nil {
		return fmt.Errorf("signal %s to %s: %w", sig, s.Name, err)
	}
	return nil
}
