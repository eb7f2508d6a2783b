package relay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/gapless/gapless/relay/eventrouter"
	"github.com/gapless/gapless/relay/format"
	"github.com/gapless/gapless/sql"
)

// snapshotData is the data of a snapshot signal. Rate and Mark are not Debezium's.
type snapshotData struct {
	Collections []string `json:"data-collections"`
	Type        string   `json:"type"`
	Conditions  []struct {
		Collection string `json:"data-collection"`
		Filter     string `json:"filter"`
	} `json:"additional-conditions"`
	SurrogateKey string `json:"surrogate-key"`

	Rate *int `json:"rate"`
	Mark bool `json:"mark-replays"`

	collections, conditions []nameMatcher
}

type nameMatcher = func(string) (bool, error)

// snapshotRate is how many records a second a replay by signal sends where its data does
// not say; as of 'relay replay'.
const snapshotRate = 1000

// snapshotKinds are the signals of snapshots, and whether their data is read.
var snapshotKinds = map[string]bool{"execute-snapshot": true, "stop-snapshot": true, "pause-snapshot": false, "resume-snapshot": false}

// parseSnapshot refuses what is not known by its name: a condition that was passed over
// would send all rows.
func parseSnapshot(v signal) (*snapshotData, error) {
	d := &snapshotData{}
	if !snapshotKinds[v.kind] || len(v.data) == 0 {
		return d, d.validate(v.kind)
	}
	decoder := json.NewDecoder(bytes.NewReader(v.data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(d); err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	return d, d.validate(v.kind)
}

func (d *snapshotData) validate(kind string) error {
	if d.Type != "" && !strings.EqualFold(d.Type, "incremental") {
		return fmt.Errorf("type %q: only incremental ones are taken, beside the stream", d.Type)
	}
	if kind == "execute-snapshot" && len(d.Collections) == 0 {
		return errors.New("data-collections is missing: it names the tables, as regular expressions")
	}
	if d.Rate != nil && *d.Rate < 0 {
		return fmt.Errorf("rate %d is negative", *d.Rate)
	}
	texts := []string{d.SurrogateKey}
	for _, expr := range d.Collections {
		match, err := eventrouter.MatchName(strings.TrimSpace(expr))
		if err != nil {
			return fmt.Errorf("data-collections: %w", err)
		}
		d.collections = append(d.collections, match)
		texts = append(texts, expr)
	}
	for _, c := range d.Conditions {
		match, err := eventrouter.MatchName(strings.TrimSpace(c.Collection))
		if err != nil {
			return fmt.Errorf("additional-conditions: %w", err)
		}
		d.conditions = append(d.conditions, match)
		texts = append(texts, c.Filter)
	}
	if strings.ContainsRune(strings.Join(texts, ""), 0) {
		return errors.New("a text has the character 0, which Postgres' have not")
	}
	return nil
}

// chosen are those of the tables that the expressions match, in the order of those.
func (d *snapshotData) chosen(tables []string) ([]string, error) {
	var chosen []string
	for _, match := range d.collections {
		for _, table := range tables {
			ok, err := match(table)
			if err != nil {
				return nil, err
			}
			if ok && !slices.Contains(chosen, table) {
				chosen = append(chosen, table)
			}
		}
	}
	return chosen, nil
}

// request is the replay of a table: the first condition that matches it counts.
func (d *snapshotData) request(table string) (ReplayRequest, error) {
	q := ReplayRequest{Table: table, OrderBy: d.SurrogateKey, Mark: d.Mark, Rate: snapshotRate}
	if d.Rate != nil {
		q.Rate = *d.Rate
	}
	for i, match := range d.conditions {
		ok, err := match(table)
		if err != nil {
			return q, err
		}
		if ok {
			q.Filter = strings.TrimSpace(d.Conditions[i].Filter)
			break
		}
	}
	return q, nil
}

// snapshotError is about a signal that no further try would execute.
type snapshotError struct{ error }

// executeSnapshot does in the database what the signal asks for. The runner does the rest.
func (s *session) executeSnapshot(ctx context.Context, v signal, d *snapshotData) error {
	at := []any{v.at.Commit.String(), v.at.Index}
	reason := fmt.Sprintf("signal %s at %s", v.id, v.at)
	var err error
	switch v.kind {
	case "execute-snapshot":
		err = s.startSnapshot(ctx, v, d, reason)
	case "stop-snapshot":
		var ids []uuid.UUID
		if ids, err = s.r.snapshotsOf(ctx, d); err == nil {
			err = s.r.store.exec(ctx, sql.RelaySnapshotStop, append([]any{s.r.cfg.Slot, reason, ids}, at...)...)
		}
	default:
		err = s.r.store.exec(ctx, sql.RelaySnapshotPause, append([]any{s.r.cfg.Slot, v.kind == "pause-snapshot", reason}, at...)...)
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && (strings.HasPrefix(pg.Code, "22") || strings.HasPrefix(pg.Code, "23")) {
		return snapshotError{err} // what it says cannot be stored
	}
	return err
}

func (s *session) startSnapshot(ctx context.Context, v signal, d *snapshotData, reason string) error {
	server, err := s.r.check(ctx)
	if err != nil {
		return err
	}
	outboxes := slices.DeleteFunc(server.PublicationTables, func(table string) bool {
		switch s.r.cfg.formatOf(table).(type) {
		case format.Native, eventrouter.Config:
			return false
		}
		return true
	})
	chosen, err := d.chosen(outboxes)
	if err != nil {
		return snapshotError{err}
	}
	if len(chosen) == 0 {
		return snapshotError{fmt.Errorf("data-collections match none of the outbox tables of publication %q: %s", s.r.cfg.Publication, strings.Join(outboxes, ", "))}
	}
	var requests []string
	for _, table := range chosen {
		q, err := d.request(table)
		if err != nil {
			return snapshotError{err}
		}
		text, err := json.Marshal(q)
		if err != nil {
			return snapshotError{err}
		}
		requests = append(requests, string(text))
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	var made int
	err = s.r.store.pool.QueryRow(ctx, sql.RelaySnapshotStart, s.r.cfg.Slot, s.system.ID, v.at.Commit.String(), v.at.Index, v.id, requests, reason).Scan(&made)
	if err == nil && made > 0 {
		s.r.log.InfoContext(ctx, "replay asked for by a signal", "id", v.id, "tables", chosen)
	}
	return err
}

// openSnapshot is a replay that a signal has asked for.
type openSnapshot struct {
	ID     uuid.UUID `db:"id"`
	Table  string    `db:"table"`
	Paused bool      `db:"paused"`
}

func (r *Relay) openSnapshots(ctx context.Context) ([]openSnapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	rows, err := r.store.pool.Query(ctx, sql.RelaySnapshotOpen, r.cfg.Slot)
	if err != nil {
		return nil, fmt.Errorf("look for replays: %w", err)
	}
	open, err := pgx.CollectRows(rows, pgx.RowToStructByName[openSnapshot])
	if err != nil {
		return nil, fmt.Errorf("look for replays: %w", err)
	}
	return open, nil
}

// snapshotsOf are the open replays of the tables that are named, or all.
func (r *Relay) snapshotsOf(ctx context.Context, d *snapshotData) ([]uuid.UUID, error) {
	open, err := r.openSnapshots(ctx)
	if err != nil {
		return nil, err
	}
	ids := []uuid.UUID{}
	for _, o := range open {
		chosen, err := d.chosen([]string{o.Table})
		if err != nil {
			return nil, snapshotError{err}
		}
		if len(d.collections) == 0 || len(chosen) > 0 {
			ids = append(ids, o.ID)
		}
	}
	return ids, nil
}
