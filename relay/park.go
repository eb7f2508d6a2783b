package relay

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/internal/crashpoint"
	"github.com/gapless/gapless/internal/pgtext"
	"github.com/gapless/gapless/relay/core"
	"github.com/gapless/gapless/relay/format"
	"github.com/gapless/gapless/relay/kafkastate"
	"github.com/gapless/gapless/sql"
)

// parked is a record on its way to gapless.parked.
type parked struct {
	table     string
	record    *format.Record
	status    string // statusParked or statusWaiting
	blockedBy string // the key it waits for; empty when it blocks nothing and waits for nothing
	fault     *format.Fault
	source    []byte // see source; nil when the record is whole
}

const (
	statusParked  = "parked"
	statusWaiting = "waiting"
)

// why is its fault, or for what it waits.
func (p *parked) why() *format.Fault {
	if p.fault == nil {
		return &format.Fault{Reason: "waiting", Detail: "an earlier row of the key is parked"}
	}
	return p.fault
}

// rowKey is the ordering key as gapless.parked has it; nil for a null key.
// A key that is not text is kept in hex, as Postgres prints bytes, and a very long one by its
// beginning and a digest: it must fit into a record of the state beside all else.
func rowKey(key []byte) *string {
	if key == nil {
		return nil
	}
	s := string(key)
	if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
		s = `\x` + hex.EncodeToString(key)
	}
	if len(s) > maxRowKey {
		sum := sha256.Sum256(key)
		s = strings.ToValidUTF8(s[:100], "") + "… of " + strconv.Itoa(len(key)) + " bytes, sha256 " + hex.EncodeToString(sum[:])
	}
	return &s
}

// maxRowKey is the longest key that is told as it is.
const maxRowKey = 16 << 10

// orderKey is the key whose order the record is part of. A null key blocks only
// itself.
func orderKey(table string, r *format.Record) (key string, ok bool) {
	if r.Key == nil {
		return "", false
	}
	return kafkastate.BlockKey(table, *rowKey(r.Key)), true
}

// waits tells whether the record's key is blocked.
func (s *session) waits(table string, r *format.Record) bool {
	if len(s.blocked) == 0 {
		return false
	}
	key, ok := orderKey(table, r)
	return ok && s.blocks(key)
}

// setAside takes what the sink will not have, or what waits for its key, by the
// policy for its fault. wasMade is false when no whole record could be made.
func (s *session) setAside(o origin, r *format.Record, fault *format.Fault, wasMade bool) error {
	policy := BlockKey
	if fault != nil {
		policy = cmp.Or(s.r.cfg.OnFault[fault.Reason], BlockKey)
	}
	if policy == Halt {
		return halted(o.table.name, r, fault)
	}
	p := &parked{table: o.table.name, record: r, status: statusParked, fault: fault}
	if key, ok := orderKey(p.table, r); ok {
		if s.blocks(key) {
			p.status, p.blockedBy = statusWaiting, key
		} else if policy == BlockKey {
			p.blockedBy = key
			s.blocked[key] = struct{}{}
		}
	}
	var err error
	switch {
	case wasMade && r.Size() > maxKept:
		p.source, err = tooLarge()
		r.Value, r.Headers = nil, nil
	case !wasMade: // it is made again of its source
		p.source, err = o.source()
		if format.CheckTopic(r.Topic) != nil {
			r.Topic = shown(r.Topic) // it goes into logs and metrics
		}
	}
	if err != nil {
		return fmt.Errorf("park row: %w", err)
	}
	if p.status == statusParked {
		s.r.log.Error("row parked", "table", p.table, "topic", r.Topic, "event_id", r.EventID,
			"commit", r.Position.Commit, "index", r.Position.Index, "policy", policy, "reason", fault.Reason, "detail", fault.Detail)
	}
	s.parking = append(s.parking, p)
	return nil
}

// shown is a name that no topic can have, in a form that anything takes.
func shown(topic string) string {
	if len(topic) > format.MaxTopic {
		topic = topic[:format.MaxTopic] + "…"
	}
	return strconv.QuoteToASCII(topic)
}

// maxBlocked bounds the keys that parked rows block.
const maxBlocked = 1_000_000

// maxParkBatch bounds one transaction.
const maxParkBatch = 256

// parkRate is how many bytes a second a server takes at the least.
const parkRate = 1 << 20

func (s *session) storeParked() func(context.Context) {
	n := min(len(s.parking), maxParkBatch)
	batch := s.parking[:n:n]
	keys := len(s.blocked)
	isFull := !s.unsure && s.r.keepsInPostgres() && keys > cmp.Or(s.r.cfg.Storage.MaxParked, maxBlocked)
	return func(ctx context.Context) {
		var err error
		if isFull {
			err = fmt.Errorf("of %d keys %w", keys, errFull)
		} else {
			err = s.r.remembered().park(ctx, s.incarnation, batch)
		}
		if err == nil {
			crashpoint.Hit("relay.after_park")
		}
		s.inbox.result(func() {
			s.worker.busy = false
			s.full = ""
			if errors.Is(err, errFull) {
				s.full = err.Error()
			}
			s.unsure = err != nil && !errors.Is(err, errFull)
			if err != nil {
				s.failed(err)
				return
			}
			s.parking = s.parking[n:]
			for _, p := range batch {
				delete(s.r.poison, placeOf(p.record))
				t := s.r.metrics.topic(p.record.Topic)
				if p.status == statusWaiting {
					t.waiting.Inc()
				} else {
					t.parked.Inc()
					s.r.board.update(func(b *Status) { b.Parked++ })
				}
				s.settled(p.record)
			}
		})
	}
}

func (s *store) park(ctx context.Context, incarnation int64, rows []*parked) error {
	arguments := make([]pgx.StrictNamedArgs, 0, len(rows))
	within := storeTimeout
	for _, p := range rows {
		r := p.record
		within += time.Duration(r.Size()+len(p.source)) * time.Second / parkRate
		headers, err := headersJSON(r.Headers)
		if err != nil {
			return fmt.Errorf("park row: %w", err)
		}
		var id *uuid.UUID
		if r.EventID != uuid.Nil {
			id = &r.EventID
		}
		fault := p.why()
		arguments = append(arguments, pgx.StrictNamedArgs{
			"slot": s.slot, "incarnation": incarnation, "event_id": id, "relation": p.table, "row_key": rowKey(r.Key), "topic": pgtext.Clean(r.Topic),
			"record_key": r.Key, "record_value": r.Value, "headers": headers, "record_timestamp": r.Timestamp, "record_partition": r.Partition,
			"timeline": r.Position.Timeline, "commit_lsn": r.Position.Commit.String(), "commit_index": r.Position.Index, "committed_at": r.CommitTime,
			"source": p.source, "status": p.status, "blocks": p.blockedBy != "", "reason": fault.Reason, "error": pgtext.Clean(fault.Detail),
		})
	}
	return s.fenced(ctx, within, "park rows", incarnation, func(b *pgx.Batch) {
		for _, a := range arguments {
			b.Queue(sql.RelayPark, a)
		}
	})
}

// fenced runs statements in one transaction for the relay that has the slot. They
// must find out by themselves that it has not: what they write must not be there
// when the error is errFenced.
func (s *store) fenced(ctx context.Context, within time.Duration, what string, incarnation int64, queue func(*pgx.Batch)) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var batch pgx.Batch // without an explicit BEGIN it is one transaction
	batch.Queue(sql.RelayFence, s.slot, incarnation).QueryRow(func(row pgx.Row) error {
		var held bool
		if err := row.Scan(&held); errors.Is(err, pgx.ErrNoRows) {
			return errFenced
		} else if err != nil {
			return err
		}
		return nil
	})
	queue(&batch)
	if err := s.pool.SendBatch(ctx, &batch).Close(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// headersJSON writes headers as an ordered array of [name, base64 or null]. A record that
// was made whole has names that fit: those of a format do, or are its fault.
func headersJSON(headers []format.Header) ([]byte, error) {
	pairs := make([][2]any, 0, len(headers))
	for _, h := range headers {
		var value any // null
		if h.Value != nil {
			value = h.Value // base64 by encoding/json
		}
		pairs = append(pairs, [2]any{pgtext.Clean(h.Key), value})
	}
	return json.Marshal(pairs)
}

func (s *store) adopt(ctx context.Context, _ int64) error {
	if err := s.exec(ctx, sql.RelayAdopt, s.slot); err != nil {
		return fmt.Errorf("look for rows that wait for none: %w", err)
	}
	return nil
}

func (s *store) parkedCount(ctx context.Context) (n int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := s.pool.QueryRow(ctx, sql.RelayParkedCount, s.slot).Scan(&n); err != nil {
		return 0, fmt.Errorf("count parked rows: %w", err)
	}
	return n, nil
}

func (s *store) parkedKeys(ctx context.Context) (map[string]struct{}, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	rows, err := s.pool.Query(ctx, sql.RelayParkedKeys, s.slot)
	if err != nil {
		return nil, fmt.Errorf("load parked keys: %w", err)
	}
	keys := map[string]struct{}{}
	var table, key string
	_, err = pgx.ForEachRow(rows, []any{&table, &key}, func() error {
		keys[kafkastate.BlockKey(table, key)] = struct{}{}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load parked keys: %w", err)
	}
	return keys, nil
}

// parkedAhead are the places of rows that are in the table and not before the position:
// a record of another topic was held, or not acknowledged yet, when the relay that
// parked them ended. Whatever became of them since, they are not sent by the stream.
// The table came to this timeline with the log, so a row of an older one was committed before
// the server left that, and its place means the same here.
func (s *store) parkedAhead(ctx context.Context, from core.Position, on lineage) ([]core.Point, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	rows, err := s.pool.Query(ctx, sql.RelayParkedAhead, s.slot, on.timeline, from.Resume.String())
	if err != nil {
		return nil, fmt.Errorf("load places of parked rows: %w", err)
	}
	var points []core.Point
	var commit string
	var index int64
	_, err = pgx.ForEachRow(rows, []any{&commit, &index}, func() error {
		at, err := core.ParseLSN(commit)
		points = append(points, core.Point{Commit: at, Index: index})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("load places of parked rows: %w", err)
	}
	return points, nil
}
