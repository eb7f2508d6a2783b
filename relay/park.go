package relay

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/internal/crashpoint"
	"github.com/gapless/gapless/relay/format"
	"github.com/gapless/gapless/sql"
)

// parked is a record on its way to gapless.parked.
type parked struct {
	table  string
	record *format.Record
	status string // parked or waiting
	fault  *format.Fault
}

// rowKey is the ordering key as gapless.parked has it; nil for a null key.
// A key that is not text is kept in hex, as Postgres prints bytes.
func rowKey(key []byte) *string {
	if key == nil {
		return nil
	}
	s := string(key)
	if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
		s = `\x` + hex.EncodeToString(key)
	}
	return &s
}

func blockKey(table, key string) string { return table + "\x00" + key }

// waits tells whether the record's key is blocked by a parked row. A null key
// blocks only itself.
func (s *session) waits(table string, r *format.Record) bool {
	if len(s.blocked) == 0 || r.Key == nil {
		return false
	}
	_, ok := s.blocked[blockKey(table, *rowKey(r.Key))]
	return ok
}

// park queues the record for gapless.parked and blocks its key from here on.
// It counts as acknowledged when the row is committed.
func (s *session) park(table string, r *format.Record, status string, fault *format.Fault) {
	if key := rowKey(r.Key); key != nil {
		s.blocked[blockKey(table, *key)] = struct{}{}
	}
	if fault == nil {
		fault = &format.Fault{Reason: "waiting", Detail: "an earlier row of the key is parked"}
	}
	if status == "parked" {
		s.r.log.Error("row parked", "table", table, "topic", r.Topic, "event_id", r.EventID,
			"commit", r.Position.Commit, "index", r.Position.Index, "reason", fault.Reason, "detail", fault.Detail)
	}
	s.parking = append(s.parking, &parked{table, r, status, fault})
}

// maxParkBatch bounds one transaction.
const maxParkBatch = 256

func (s *session) storeParked() func(context.Context) {
	n := min(len(s.parking), maxParkBatch)
	batch := s.parking[:n:n]
	return func(ctx context.Context) {
		err := s.r.store.park(ctx, batch)
		if err == nil {
			crashpoint.Hit("relay.after_park")
		}
		s.inbox.result(func() {
			s.worker.busy = false
			if err != nil {
				s.failed(err)
				return
			}
			s.parking = s.parking[n:]
			for _, p := range batch {
				delete(s.r.poison, placeOf(p.record))
				t := s.r.metrics.topic(p.record.Topic)
				if p.status == "waiting" {
					t.waiting.Inc()
				} else {
					t.parked.Inc()
				}
				s.r.board.update(func(b *Status) { b.Parked++ })
				s.settled(p.record)
			}
		})
	}
}

func (s *store) park(ctx context.Context, rows []*parked) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	var batch pgx.Batch
	for _, p := range rows {
		r := p.record
		headers, err := headersJSON(r.Headers)
		if err != nil {
			return fmt.Errorf("park row: %w", err)
		}
		var id *uuid.UUID
		if r.EventID != uuid.Nil {
			id = &r.EventID
		}
		batch.Queue(sql.RelayPark, s.slot, id, p.table, rowKey(r.Key), r.Topic, r.Key, r.Value, headers,
			r.Timestamp, r.Position.Timeline, r.Position.Commit.String(), r.Position.Index, p.status, p.fault.Reason, p.fault.Detail, r.Partition)
	}
	// A batch without an explicit BEGIN is one transaction.
	if err := s.pool.SendBatch(ctx, &batch).Close(); err != nil {
		return fmt.Errorf("park rows: %w", err)
	}
	return nil
}

// headersJSON writes headers as an ordered array of [name, base64 or null].
func headersJSON(headers []format.Header) ([]byte, error) {
	pairs := make([][2]any, 0, len(headers))
	for _, h := range headers {
		var value any // null
		if h.Value != nil {
			value = h.Value // base64 by encoding/json
		}
		pairs = append(pairs, [2]any{h.Name, value})
	}
	return json.Marshal(pairs)
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
		keys[blockKey(table, key)] = struct{}{}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load parked keys: %w", err)
	}
	return keys, nil
}
