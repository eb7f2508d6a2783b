package kafkastate

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// version of the records' values. A newer one is refused, not guessed at.
const version = 1

// Place is where a row was committed.
type Place struct {
	System   string // the server's identifier: another one has rows of its own at the same places
	Timeline int32
	Commit   uint64
	Index    int64
}

// Compare orders places as the log does: a timeline goes on where it left the one before it,
// and has the places up to there in common with it.
func (p Place) Compare(o Place) int {
	return cmp.Or(cmp.Compare(p.Commit, o.Commit), cmp.Compare(p.Index, o.Index), cmp.Compare(p.Timeline, o.Timeline), cmp.Compare(p.System, o.System))
}

// String is the place as it stands in keys.
func (p Place) String() string {
	return fmt.Sprintf("%s/%d/%016X/%d", p.System, p.Timeline, p.Commit, p.Index)
}

// ParsePlace reads what String writes.
func ParsePlace(text string) (p Place, err error) {
	parts := strings.Split(text, "/")
	if len(parts) != 4 {
		return p, fmt.Errorf("%q is no place", text)
	}
	timeline, err1 := strconv.ParseInt(parts[1], 10, 32)
	commit, err2 := strconv.ParseUint(parts[2], 16, 64)
	index, err3 := strconv.ParseInt(parts[3], 10, 64)
	if err := errors.Join(err1, err2, err3); err != nil {
		return p, fmt.Errorf("%q is no place: %w", text, err)
	}
	return Place{parts[0], int32(timeline), commit, index}, nil
}

// Progress is how far the relay of a slot is. LSNs are as Postgres prints them.
type Progress struct {
	V             int        `json:"v"`
	Incarnation   int64      `json:"incarnation"` // counted up by each relay that takes the slot
	SystemID      string     `json:"system_id"`
	Timeline      int32      `json:"timeline"`
	Resume        string     `json:"resume_lsn"`
	PartialCommit string     `json:"partial_commit_lsn,omitempty"`
	PartialIndex  int64      `json:"partial_index,omitempty"`
	TakeOver      string     `json:"take_over_lsn,omitempty"` // up to where topics tell what was sent
	Messages      bool       `json:"messages,omitempty"`      // logical ones are counted in the places of changes
	RelayID       string     `json:"relay_id"`
	Fingerprint   string     `json:"publication_fingerprint,omitempty"`
	Events        int64      `json:"events"`
	LastCommit    *time.Time `json:"last_commit_at,omitempty"`
	UpdatedAt     time.Time  `json:"updated_at"`

	// Forgotten was written by an operator: the slot has no position any more. Actor and
	// Reason say who and why.
	Forgotten bool   `json:"forgotten,omitempty"`
	Actor     string `json:"actor,omitempty"`
	Reason    string `json:"reason,omitempty"`
}

// Proofs are the relay's, which alone reads them.
type Proofs struct {
	V      int             `json:"v"`
	Proofs json.RawMessage `json:"proofs"`
}

// What becomes of a parked row.
const (
	Parked    = "parked"    // could not be sent
	Waiting   = "waiting"   // behind one that could not
	Redriving = "redriving" // is to be sent again
	Redriven  = "redriven"  // was
	Discarded = "discarded"
)

// Row is a parked row as it was put aside. It never changes: see Mark.
type Row struct {
	V         int             `json:"v"`
	ID        uuid.UUID       `json:"id"`
	EventID   uuid.UUID       `json:"event_id"` // zero where it has none
	Table     string          `json:"table"`
	RowKey    *string         `json:"row_key"`
	Topic     string          `json:"topic"`
	Partition int32           `json:"partition"` // -1: by the key
	Key       []byte          `json:"key"`
	Value     []byte          `json:"value"`
	Headers   json.RawMessage `json:"headers,omitempty"`      // ordered array of [name, base64 or null]
	Timestamp *int64          `json:"timestamp_us,omitempty"` // microseconds since 1970
	Committed *int64          `json:"committed_us,omitempty"`
	Source    json.RawMessage `json:"source,omitempty"` // the row itself, where no record could be made
	Blocks    bool            `json:"blocks"`
	Status    string          `json:"status"` // parked or waiting
	Reason    string          `json:"reason"`
	Error     string          `json:"error"`
	ParkedAt  time.Time       `json:"parked_at"`
	// Pointer says that its bytes were too many for the topic.
	Pointer bool `json:"pointer,omitempty"`
}

// Mark is what became of a parked row, in place of what its Row says.
type Mark struct {
	V        int    `json:"v"`
	Status   string `json:"status"`
	Request  int64  `json:"request,omitempty"` // the last one that chose it
	Attempts int    `json:"attempts"`
	Reason   string `json:"reason"`
	Error    string `json:"error"`
}

func (m Mark) isOpen() bool {
	return m.Status == Parked || m.Status == Waiting || m.Status == Redriving
}

// Control is what an operator wants.
type Control struct {
	V      int       `json:"v"`
	Paused bool      `json:"paused"`
	Actor  string    `json:"actor"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
	// Wished is where the log was then: a signal before it does not end a pause.
	Wished uint64 `json:"wished_lsn"`
}

// Signal is the newest pause or resume that came by the signal table.
type Signal struct {
	V        int       `json:"v"`
	Paused   bool      `json:"paused"`
	SystemID string    `json:"system_id"`
	LSN      uint64    `json:"lsn"`
	Index    int64     `json:"index"`
	Reason   string    `json:"reason"`
	At       time.Time `json:"at"`
}

// Status is what the relay tells of itself.
type Status struct {
	V           int        `json:"v"`
	Incarnation int64      `json:"incarnation"`
	State       string     `json:"state"`
	Reason      string     `json:"reason"`
	Held        int        `json:"held"`
	HeldTopics  []string   `json:"held_topics"`
	Oldest      *time.Time `json:"oldest_at,omitempty"` // commit of the oldest event that is not acknowledged, where that is late
	At          time.Time  `json:"at"`
}

// What a request is for.
const (
	ActionRedrive = "redrive"
	ActionDiscard = "discard"
)

// MaxChosen bounds the rows of one request.
const MaxChosen = 10_000

// Request asks the relay that has the slot to redrive or discard parked rows.
type Request struct {
	V      int             `json:"v"`
	ID     int64           `json:"id"`
	Action string          `json:"action"`
	Actor  string          `json:"actor"`
	Reason string          `json:"reason"`
	At     time.Time       `json:"at"`
	Filter json.RawMessage `json:"filter,omitempty"`
	Rows   []string        `json:"rows,omitempty"` // places; those that are no longer parked are left alone

	Accepted   bool       `json:"accepted,omitempty"` // by the relay: the rows are marked
	FinishedAt *time.Time `json:"finished_at,omitempty"`
	Outcome    Outcome    `json:"outcome"` // once it is finished
}

// Outcome counts what became of a request's rows.
type Outcome struct {
	Sent      int64  `json:"sent"`
	Discarded int64  `json:"discarded"`
	Failed    int64  `json:"failed"` // parked again
	LeftOver  int64  `json:"left_over"`
	Fault     string `json:"fault,omitempty"` // of one that failed
}

// kinds of records.
const (
	kindProgress = "progress"
	kindProofs   = "proofs"
	kindRow      = "row"
	kindMark     = "mark"
	kindRequest  = "request"
	kindControl  = "control"
	kindSignal   = "signal"
	kindStatus   = "status"
)

// Entry is a record to be written. Without a value it is a tombstone.
type Entry struct {
	key     string
	value   any
	encoded []byte // of value, where it was needed before
}

func (e Entry) encode() ([]byte, error) {
	if e.value == nil || e.encoded != nil {
		return e.encoded, nil
	}
	b, err := json.Marshal(e.value)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", e.key, err)
	}
	return b, nil
}

// EntryOf makes the entry of a record.
func EntryOf(slot string, value any) Entry {
	entry := func(kind string, value any) Entry { return Entry{key: slot + "/" + kind, value: value} }
	switch v := value.(type) {
	case Progress:
		v.V = version
		return entry(kindProgress, v)
	case Proofs:
		v.V = version
		return entry(kindProofs, v)
	case Control:
		v.V = version
		return entry(kindControl, v)
	case Signal:
		v.V = version
		return entry(kindSignal, v)
	case Status:
		v.V = version
		return entry(kindStatus, v)
	case Request:
		v.V = version
		return entry(kindRequest+"/"+strconv.FormatInt(v.ID, 10), v)
	}
	panic(fmt.Sprintf("kafkastate: no record is a %T", value)) // a programmer's error
}

// tooLarge is the source of a row without its bytes, as the relay has it elsewhere.
var tooLarge = json.RawMessage(`{"too_large":true}`)

// RowEntry makes the entry of a parked row. One that takes more than limit bytes, see
// Log.MaxBytes, becomes a pointer: all but key, value and headers.
func RowEntry(slot string, at Place, r Row, limit int) (Entry, error) {
	r.V = version
	e := Entry{key: slot + "/" + kindRow + "/" + at.String(), value: r}
	var err error
	if e.encoded, err = e.encode(); err != nil || len(e.key)+len(e.encoded) <= limit {
		return e, err
	}
	r.Key, r.Value, r.Headers, r.Source, r.Pointer = nil, nil, nil, tooLarge, true
	e.value, e.encoded = r, nil
	e.encoded, err = e.encode()
	return e, err
}

// MarkEntry makes the entry of a mark.
func MarkEntry(slot string, at Place, m Mark) Entry {
	m.V = version
	return Entry{key: slot + "/" + kindMark + "/" + at.String(), value: m}
}

func noRow(slot string, at Place) Entry {
	return Entry{key: slot + "/" + kindRow + "/" + at.String()}
}

func noMark(slot string, at Place) Entry {
	return Entry{key: slot + "/" + kindMark + "/" + at.String()}
}

// decode reads a record's value, which must be of a version that this program knows.
func decode(b []byte, into any) error {
	var head struct {
		V int `json:"v"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return err
	}
	if head.V != version {
		return fmt.Errorf("version %d; this program reads version %d", head.V, version)
	}
	return json.Unmarshal(b, into)
}
