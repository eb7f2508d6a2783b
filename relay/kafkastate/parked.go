package kafkastate

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Blocked are the keys whose rows wait.
func (s *Slot) Blocked() map[string]struct{} {
	keys := make(map[string]struct{}, len(s.keys))
	for key := range s.keys {
		keys[key] = struct{}{}
	}
	return keys
}

// Ahead are the places at or after a position, whatever became of the rows, on whatever
// timeline.
func (s *Slot) Ahead(commit uint64) []Place {
	var places []Place
	for at := range s.held {
		if at.Commit >= commit {
			places = append(places, at)
		}
	}
	return places
}

// Orphans are the first rows of keys that wait for a row which is not there any more.
func (s *Slot) Orphans() []*Held {
	var heads []*Held
	for _, rows := range s.keys {
		if rows[0].Mark.Status == Waiting {
			heads = append(heads, rows[0])
		}
	}
	return heads
}

// Adopt makes a request of the relay's own for rows that wait for none.
func (s *Slot) Adopt(heads []*Held, now time.Time) []Entry {
	id := s.NextRequest(now)
	entries := []Entry{EntryOf(s.name, Request{
		ID: id, Action: ActionRedrive, Actor: "gapless relay", Reason: "rows that wait for none", At: now, Accepted: true,
	})}
	for _, h := range heads {
		m := h.Mark
		m.Request = id
		entries = append(entries, MarkEntry(s.name, h.At, m))
	}
	return entries
}

// NextRequest is an id for a new request: a time, in microseconds.
func (s *Slot) NextRequest(now time.Time) int64 {
	id := now.UnixMicro()
	for s.Requests[id] != nil {
		id++
	}
	return id
}

// Accept returns what marks the rows of a request that are still parked, and after them
// the request as accepted.
func (s *Slot) Accept(id int64) []Entry {
	r := *s.Requests[id]
	var entries []Entry
	for _, text := range r.Rows {
		at, err := ParsePlace(text)
		h := s.held[at]
		if err != nil || h == nil || !h.IsOpen() || h.Mark.Status != Parked {
			continue
		}
		m := h.Mark
		m.Request, m.Status = id, Redriving
		if r.Action == ActionDiscard {
			m.Status = Discarded
			entries = append(entries, MarkEntry(s.name, at, m), noRow(s.name, at))
			continue
		}
		entries = append(entries, MarkEntry(s.name, at, m))
	}
	r.Accepted = true
	return append(entries, EntryOf(s.name, r))
}

// Unknown leaves out rows whose places are known, whatever became of them: they were
// parked before a crash.
func (s *Slot) Unknown(rows []Entry) []Entry {
	return slices.DeleteFunc(rows, func(e Entry) bool {
		at, err := ParsePlace(strings.TrimPrefix(e.key, s.name+"/"+kindRow+"/"))
		return err == nil && s.held[at] != nil
	})
}

// Next are copies of the rows that may go out for the requests: of each key concerned, in the log's
// order, up to the first that is parked and not to be redriven. rows bounds them, and
// bytes what they hold; one row there is in any case.
func (s *Slot) Next(requests []int64, rows, bytes int) []*Held {
	var candidates []*Held
	keys := map[string]bool{}
	for _, h := range s.held {
		if !slices.Contains(requests, h.Mark.Request) {
			continue
		}
		key, ok := h.Key()
		switch {
		case !ok && h.IsOpen() && h.Mark.Status == Redriving:
			candidates = append(candidates, h)
		case ok && !keys[key]:
			keys[key] = true
			for i, next := range s.keys[key] {
				if next.Mark.Status == Parked || i >= rows {
					break
				}
				candidates = append(candidates, next)
			}
		}
	}
	slices.SortFunc(candidates, func(a, b *Held) int { return a.At.Compare(b.At) })
	size := 0
	for i, h := range candidates {
		if size += h.size; i > 0 && (i >= rows || size > bytes) {
			return candidates[:i]
		}
		copied := *h
		candidates[i] = &copied
	}
	return candidates
}

// Failure is a row that was tried again in vain.
type Failure struct {
	At            Place
	Reason, Error string
}

// Settle returns what notes the outcome of rows.
func (s *Slot) Settle(sent []Place, failed []Failure) []Entry {
	var entries []Entry
	for _, at := range sent {
		if h := s.held[at]; h != nil && (h.Mark.Status == Redriving || h.Mark.Status == Waiting) {
			m := h.Mark
			m.Status = Redriven
			entries = append(entries, MarkEntry(s.name, at, m), noRow(s.name, at))
		}
	}
	for _, f := range failed {
		if h := s.held[f.At]; h != nil && (h.Mark.Status == Redriving || h.Mark.Status == Waiting) {
			m := h.Mark
			m.Status, m.Reason, m.Error = Parked, f.Reason, f.Error
			m.Attempts++
			entries = append(entries, MarkEntry(s.name, f.At, m))
		}
	}
	return entries
}

// Outcome counts what has become of a request's rows so far.
func (s *Slot) Outcome(id int64) Outcome {
	if r := s.Requests[id]; r != nil && r.FinishedAt != nil {
		return r.Outcome
	}
	var o Outcome
	for _, h := range s.held {
		if h.Mark.Request != id {
			continue
		}
		switch h.Mark.Status {
		case Redriven:
			o.Sent++
		case Discarded:
			o.Discarded++
		case Redriving:
			o.LeftOver++
		case Parked:
			o.Failed++
			if text := h.Mark.Reason + ": " + h.Mark.Error; o.Fault == "" || text < o.Fault {
				o.Fault = text
			}
		}
	}
	return o
}

// Finish returns what closes the requests, and which keys they concerned and whether rows
// of those still wait.
func (s *Slot) Finish(requests []int64, now time.Time) (entries []Entry, keys map[string]bool) {
	keys = map[string]bool{}
	for _, id := range requests {
		if s.Requests[id] == nil {
			continue // an operator has removed it
		}
		r := *s.Requests[id]
		r.Outcome = s.Outcome(id)
		r.FinishedAt, r.Rows = &now, nil
		entries = append(entries, EntryOf(s.name, r))
	}
	for _, h := range s.held {
		if key, ok := h.Key(); ok && slices.Contains(requests, h.Mark.Request) {
			keys[key] = len(s.keys[key]) > 0
		}
	}
	return append(entries, s.oldRequests()...), keys
}

// keptRequests is how many finished requests stay, for who asks what was done and why.
const keptRequests = 1000

func (s *Slot) oldRequests() (entries []Entry) {
	ids := slices.Sorted(maps.Keys(s.Requests))
	for _, id := range ids[:max(0, len(ids)-keptRequests)] {
		if s.Requests[id].FinishedAt != nil {
			entries = append(entries, Entry{key: s.name + "/" + kindRequest + "/" + strconv.FormatInt(id, 10)})
		}
	}
	return entries
}

// Passed returns what removes the marks of rows that are settled and before a position:
// none of them comes by the stream again. most bounds it.
func (s *Slot) Passed(commit uint64, most int) []Entry {
	if len(s.held) == s.open {
		return nil
	}
	var entries []Entry
	for at, h := range s.held {
		if h.IsOpen() || at.Commit >= commit {
			continue
		}
		if r := s.Requests[h.Mark.Request]; r != nil && r.FinishedAt == nil {
			continue // it is still counted
		}
		if h.hasRow {
			entries = append(entries, noRow(s.name, at)) // first: alone it would be open again
		}
		if entries = append(entries, noMark(s.name, at)); len(entries) >= most {
			break
		}
	}
	return entries
}
