package check

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/gapless/gapless/relay/core"
)

// Outcome of a transaction, as its writer knows it.
type Outcome string

// The outcomes.
const (
	OK      Outcome = "ok"      // COMMIT was answered
	Fail    Outcome = "fail"    // rolled back, by the writer or by an error of the server
	Unknown Outcome = "unknown" // the connection broke at COMMIT
)

// Row of the outbox, as it was handed to the server.
type Row struct {
	ID      string `json:"id"`
	Topic   string `json:"topic"`
	Key     string `json:"key"`
	Version int64  `json:"version"`
}

// Txn is a writer's transaction.
type Txn struct {
	Writer  int       `json:"writer"`
	Began   time.Time `json:"began"`
	Ended   time.Time `json:"ended"`
	Outcome Outcome   `json:"outcome"`
	Rows    []Row     `json:"rows"`
}

// Record is one in Kafka.
type Record struct {
	Topic     string    `json:"topic"`
	Remade    int       `json:"remade,omitempty"` // how often the topic was deleted and made again before
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
	Appended  time.Time `json:"appended"` // by the broker's clock
	ID        string    `json:"id"`
	Key       string    `json:"key"`
	Version   int64     `json:"version"`
	Commit    core.LSN  `json:"commit"`
	Index     int64     `json:"index"`
}

// Stream is a relay's beginning to stream.
type Stream struct {
	Relay  string    `json:"relay"`
	Began  time.Time `json:"began"`
	Resume core.LSN  `json:"resume"` // what was stored
}

// Fault is when something was wrong. What needs no healing has healed as it began.
type Fault struct {
	Name   string    `json:"name"`
	Seed   uint64    `json:"seed"`
	Began  time.Time `json:"began"`
	Healed time.Time `json:"healed"`
}

// History is all that a run did and found.
type History struct {
	Fault   Fault
	Txns    []Txn
	Streams []Stream
	Records []Record // of each partition in the order of its offsets
	Stored  map[string]bool
	Parked  map[string]bool
}

// entry is a line of the file: one field is set.
type entry struct {
	Fault  *Fault  `json:"fault,omitempty"`
	Txn    *Txn    `json:"txn,omitempty"`
	Stream *Stream `json:"stream,omitempty"`
	Record *Record `json:"record,omitempty"`
	Stored string  `json:"stored,omitempty"`
	Parked string  `json:"parked,omitempty"`
}

// Write writes h as JSON lines.
func (h *History) Write(w io.Writer) error {
	b := bufio.NewWriter(w)
	e := json.NewEncoder(b)
	entries := []entry{{Fault: &h.Fault}}
	for i := range h.Txns {
		entries = append(entries, entry{Txn: &h.Txns[i]})
	}
	for i := range h.Streams {
		entries = append(entries, entry{Stream: &h.Streams[i]})
	}
	for i := range h.Records {
		entries = append(entries, entry{Record: &h.Records[i]})
	}
	for id := range h.Stored {
		entries = append(entries, entry{Stored: id})
	}
	for id := range h.Parked {
		entries = append(entries, entry{Parked: id})
	}
	for i := range entries {
		if err := e.Encode(&entries[i]); err != nil {
			return fmt.Errorf("write history: %w", err)
		}
	}
	return b.Flush()
}

// Read reads what Write wrote. A line that it does not know is an error.
func Read(r io.Reader) (*History, error) {
	h := &History{Stored: map[string]bool{}, Parked: map[string]bool{}}
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	for n := 1; ; n++ {
		var e entry
		if err := d.Decode(&e); errors.Is(err, io.EOF) {
			return h, nil
		} else if err != nil {
			return nil, fmt.Errorf("read history, entry %d: %w", n, err)
		}
		switch {
		case e.Fault != nil:
			h.Fault = *e.Fault
		case e.Txn != nil:
			h.Txns = append(h.Txns, *e.Txn)
		case e.Stream != nil:
			h.Streams = append(h.Streams, *e.Stream)
		case e.Record != nil:
			h.Records = append(h.Records, *e.Record)
		case e.Stored != "":
			h.Stored[e.Stored] = true
		case e.Parked != "":
			h.Parked[e.Parked] = true
		default:
			return nil, fmt.Errorf("read history, entry %d: it is empty", n)
		}
	}
}
