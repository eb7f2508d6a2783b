package kafkastate

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Held is a parked row as it is kept in memory: without its bytes.
type Held struct {
	At   Place
	Row  Row  // Key, Value, Headers and Source are nil
	Mark Mark // what has become of it

	hasRow, hasMark bool
	offset          int64 // of the record with the bytes
	size            int
}

// Key is the key whose rows wait for each other; ok is false where it blocks nothing.
func (h *Held) Key() (key string, ok bool) {
	if h.Row.RowKey == nil || !h.Row.Blocks {
		return "", false
	}
	return BlockKey(h.Row.Table, *h.Row.RowKey), true
}

// IsOpen tells whether the row was neither sent nor discarded.
func (h *Held) IsOpen() bool { return h.hasRow && h.Mark.isOpen() }

// BlockKey is what a key of a table is remembered by: a digest where it is long, as all that
// are blocked are kept in memory.
func BlockKey(table, key string) string {
	k := table + "\x00" + key
	if len(k) <= sha256.Size {
		return k
	}
	sum := sha256.Sum256([]byte(k))
	return string(sum[:])
}

// Slot is the state of one slot, as far as the topic has been read.
type Slot struct {
	Progress *Progress // nil: none
	Proofs   json.RawMessage
	Control  *Control
	Signal   *Signal
	Status   *Status
	Requests map[int64]*Request

	// Others are the publications' fingerprints of the other slots with a record.
	Others map[string]string

	name                string
	controlAt, signalAt int64 // offsets
	held                map[Place]*Held
	keys                map[string][]*Held // open rows that block, in the log's order
	open                int
}

func newSlot(name string) *Slot {
	return &Slot{
		name: name, Requests: map[int64]*Request{}, Others: map[string]string{},
		held: map[Place]*Held{}, keys: map[string][]*Held{},
	}
}

// apply takes a record over. value nil is a tombstone.
func (s *Slot) apply(key string, value []byte, offset int64) error {
	slot, rest, _ := strings.Cut(key, "/")
	kind, id, _ := strings.Cut(rest, "/")
	if slot != s.name {
		if kind == kindProgress {
			s.other(slot, value)
		}
		return nil
	}
	switch kind {
	case kindProgress:
		p, err := optional[Progress](value)
		if err != nil {
			return err
		}
		if p != nil && s.Progress != nil && p.Incarnation < s.Progress.Incarnation {
			return nil // of one that had lost the slot
		}
		s.Progress = p
		return nil
	case kindProofs:
		p, err := optional[Proofs](value)
		s.Proofs = nil
		if p != nil {
			s.Proofs = p.Proofs
		}
		return err
	case kindControl:
		s.controlAt = offset
		return set(&s.Control, value)
	case kindSignal:
		s.signalAt = offset
		return set(&s.Signal, value)
	case kindStatus:
		return set(&s.Status, value)
	case kindRequest:
		return s.applyRequest(id, value)
	case kindRow, kindMark:
		return s.applyHeld(kind, id, value, offset)
	}
	return fmt.Errorf("kind %q is not known: it may be of a newer version", kind)
}

func optional[T any](value []byte) (*T, error) {
	if value == nil {
		return nil, nil
	}
	var v T
	if err := decode(value, &v); err != nil {
		return nil, err
	}
	return &v, nil
}

func set[T any](to **T, value []byte) (err error) {
	*to, err = optional[T](value)
	return err
}

func (s *Slot) other(slot string, value []byte) {
	var p Progress
	if value == nil || json.Unmarshal(value, &p) != nil {
		delete(s.Others, slot) // its own relay refuses it
		return
	}
	s.Others[slot] = p.Fingerprint
}

func (s *Slot) applyRequest(id string, value []byte) error {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return err
	}
	r, err := optional[Request](value)
	if err != nil {
		return err
	}
	if r == nil {
		delete(s.Requests, n)
		return nil
	}
	if r.ID != n || r.Action != ActionRedrive && r.Action != ActionDiscard {
		return fmt.Errorf("request %d, action %q", r.ID, r.Action)
	}
	s.Requests[n] = r
	return nil
}

func (s *Slot) applyHeld(kind, id string, value []byte, offset int64) error {
	at, err := ParsePlace(id)
	if err != nil {
		return err
	}
	h := s.held[at]
	if h == nil {
		if value == nil {
			return nil
		}
		h = &Held{At: at}
		s.held[at] = h
	}
	wasOpen := h.IsOpen()
	defer func() { s.index(h, wasOpen) }()
	if kind == kindMark {
		m, err := optional[Mark](value)
		if err != nil {
			return err
		}
		h.hasMark = m != nil
		if m != nil {
			h.Mark = *m
		}
		return nil
	}
	r, err := optional[Row](value)
	if err != nil {
		return err
	}
	h.hasRow = r != nil
	if r == nil {
		return nil
	}
	if r.Status != Parked && r.Status != Waiting {
		return fmt.Errorf("status %q", r.Status)
	}
	h.size, h.offset = len(r.Value)+len(r.Source)+len(r.Headers), offset
	r.Key, r.Value, r.Headers, r.Source = nil, nil, nil, nil
	h.Row = *r
	if !h.hasMark {
		h.Mark = Mark{Status: r.Status, Reason: r.Reason, Error: r.Error, Attempts: 1}
	}
	return nil
}

// index keeps the open rows by key, after h was changed.
func (s *Slot) index(h *Held, wasOpen bool) {
	isOpen := h.IsOpen()
	if !h.hasRow && !h.hasMark {
		delete(s.held, h.At)
	}
	if isOpen == wasOpen {
		return
	}
	key, isOrdered := h.Key()
	rows := s.keys[key]
	i, _ := slices.BinarySearchFunc(rows, h.At, byPlace)
	switch {
	case isOpen:
		s.open++
		rows = slices.Insert(rows, i, h)
	case i == 0:
		s.open--
		rows = rows[min(1, len(rows)):] // as rows of a hot key go; the others need not move
	default:
		s.open--
		rows = slices.Delete(rows, i, i+1)
	}
	switch {
	case !isOrdered: // it was only counted
	case len(rows) == 0:
		delete(s.keys, key)
	default:
		s.keys[key] = rows
	}
}

func byPlace(h *Held, at Place) int { return h.At.Compare(at) }

// check finds what no sequence of whole transactions can have left.
func (s *Slot) check() error {
	for at, h := range s.held {
		if !h.hasRow && h.Mark.isOpen() {
			return fmt.Errorf("%s/%s/%s is %s, and there is no such row", s.name, kindMark, at, h.Mark.Status)
		}
	}
	if s.Progress == nil && len(s.held) > 0 {
		return fmt.Errorf("there are parked rows of slot %s, but no %s/%s", s.name, s.name, kindProgress)
	}
	return nil
}

// HasPosition tells whether there is a position to go on from.
func (s *Slot) HasPosition() bool { return s.Progress != nil && !s.Progress.Forgotten }

// Open counts rows that were neither sent nor discarded.
func (s *Slot) Open() int { return s.open }

// Rows are copies of the open rows, in the log's order.
func (s *Slot) Rows() []*Held {
	rows := make([]*Held, 0, s.open)
	for _, h := range s.held {
		if h.IsOpen() {
			copied := *h
			rows = append(rows, &copied)
		}
	}
	slices.SortFunc(rows, func(a, b *Held) int { return a.At.Compare(b.At) })
	return rows
}

// Wish is what operators and signals want, with who and why; the later one counts. Both
// stand beside each other in the topic, whose order tells which that is.
func (s *Slot) Wish() (paused bool, why string) {
	control := func() {
		if c := s.Control; c != nil {
			paused, why = c.Paused, c.Actor+": "+c.Reason
		}
	}
	signal := func() {
		switch g := s.Signal; {
		case g == nil:
		case g.Paused && !paused: // an operator's pause stays his
			paused, why = true, "gapless relay: "+g.Reason
		case !g.Paused && paused && s.Control.Wished <= g.LSN:
			paused = false
		}
	}
	if s.signalAt < s.controlAt {
		signal()
		control()
	} else {
		control()
		signal()
	}
	if !paused {
		why = ""
	}
	return paused, why
}

// Unfinished are the ids of the open requests.
func (s *Slot) Unfinished() []int64 {
	var ids []int64
	for _, id := range slices.Sorted(maps.Keys(s.Requests)) {
		if s.Requests[id].FinishedAt == nil {
			ids = append(ids, id)
		}
	}
	return ids
}
