package check

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Unconfirmed bounds how old an acknowledgement may be and not yet be stored: the
// relay writes its progress every 250 ms, and a busy machine is slower.
const Unconfirmed = 2 * time.Second

// tick is what two clocks' resolutions may differ by: Kafka and the log have
// milliseconds, and a batch has the time of its arrival.
const tick = 20 * time.Millisecond

// Finding is one breach, in words.
type Finding string

func found(format string, args ...any) Finding { return Finding(fmt.Sprintf(format, args...)) }

// Verdict is what all checkers say.
type Verdict struct {
	Rows       int // committed
	Records    int
	Parked     int
	Repeated   int // records that came again, allowed or not
	Lost       []Finding
	Phantoms   []Finding
	Inversions []Finding
	Repeats    []Finding // that were not allowed
	Vanished   []Finding
}

// Holds tells whether nothing was found.
func (v *Verdict) Holds() bool {
	return len(v.Lost)+len(v.Phantoms)+len(v.Inversions)+len(v.Repeats)+len(v.Vanished) == 0
}

// Findings are all of them.
func (v *Verdict) Findings() []Finding {
	return slices.Concat(v.Vanished, v.Lost, v.Phantoms, v.Inversions, v.Repeats)
}

// Judge runs all checkers.
func Judge(h *History) Verdict {
	v := Verdict{
		Rows: len(committed(h)), Records: len(h.Records), Parked: len(h.Parked),
		Lost: Lost(h), Phantoms: Phantoms(h), Inversions: Inversions(h), Vanished: Vanished(h),
	}
	v.Repeated, v.Repeats = Repeats(h)
	return v
}

// committed are the rows that count: those of transactions that are ok, and of
// unknown ones those that the database has.
func committed(h *History) map[string]Row {
	rows := map[string]Row{}
	for _, t := range h.Txns {
		for _, r := range t.Rows {
			if t.Outcome == OK || t.Outcome == Unknown && h.Stored[r.ID] {
				rows[r.ID] = r
			}
		}
	}
	return rows
}

// Vanished finds where the database and the writers' knowledge differ, and unknown
// transactions of which it has a part.
func Vanished(h *History) (all []Finding) {
	written := map[string]bool{}
	for _, t := range h.Txns {
		stored := 0
		for _, r := range t.Rows {
			written[r.ID] = true
			if h.Stored[r.ID] {
				stored++
			}
		}
		switch {
		case t.Outcome == OK && stored < len(t.Rows):
			all = append(all, found("the database has %d of %d rows of a transaction that was committed at %s", stored, len(t.Rows), t.Ended.Format(time.StampMilli)))
		case t.Outcome == Fail && stored > 0:
			all = append(all, found("the database has %d rows of a transaction that was rolled back at %s", stored, t.Ended.Format(time.StampMilli)))
		case stored != 0 && stored != len(t.Rows):
			all = append(all, found("the database has %d of %d rows of a transaction whose end is unknown", stored, len(t.Rows)))
		}
	}
	for id := range h.Stored {
		if !written[id] {
			all = append(all, found("the database has row %s, which nobody wrote", id))
		}
	}
	return all
}

// Lost finds committed rows that are nowhere.
func Lost(h *History) (all []Finding) {
	seen := map[string]bool{}
	for i := range h.Records {
		seen[h.Records[i].ID] = true
	}
	for id, r := range committed(h) {
		if !seen[id] && !h.Parked[id] {
			all = append(all, found("lost: version %d of key %s, id %s", r.Version, r.Key, id))
		}
	}
	return all
}

// Phantoms finds records that are no committed row's.
func Phantoms(h *History) (all []Finding) {
	rows := committed(h)
	outcome := map[string]Outcome{}
	for _, t := range h.Txns {
		for _, r := range t.Rows {
			outcome[r.ID] = t.Outcome
		}
	}
	for i := range h.Records {
		r := &h.Records[i]
		row, ok := rows[r.ID]
		switch {
		case !ok:
			all = append(all, found("phantom: %s/%d@%d has id %s, of a transaction with outcome %q", r.Topic, r.Partition, r.Offset, r.ID, outcome[r.ID]))
		case row.Topic != r.Topic || row.Key != r.Key || row.Version != r.Version:
			all = append(all, found("phantom: %s/%d@%d is version %d of key %s, its row %s is version %d of key %s for %s",
				r.Topic, r.Partition, r.Offset, r.Version, r.Key, r.ID, row.Version, row.Key, row.Topic))
		}
	}
	return all
}

// stream is a key of a topic.
type stream struct{ topic, key string }

// inOrder are the records in the order in which they were appended to each
// partition.
func inOrder(h *History) []*Record {
	list := make([]*Record, len(h.Records))
	for i := range h.Records {
		list[i] = &h.Records[i]
	}
	slices.SortStableFunc(list, func(a, b *Record) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Remade, b.Remade), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset))
	})
	return list
}

// Inversions finds first occurrences that are not in their key's order.
func Inversions(h *History) (all []Finding) {
	seen := map[string]bool{}
	last := map[stream]*Record{}
	for _, r := range inOrder(h) {
		if seen[r.ID] {
			continue
		}
		seen[r.ID] = true
		key := stream{r.Topic, r.Key}
		before := last[key]
		last[key] = r
		if before == nil {
			continue
		}
		switch {
		case before.Partition != r.Partition:
			all = append(all, found("key %s of %s is on partitions %d and %d", r.Key, r.Topic, before.Partition, r.Partition))
		case r.Version <= before.Version:
			all = append(all, found("key %s of %s: version %d at offset %d comes after version %d", r.Key, r.Topic, r.Version, r.Offset, before.Version))
		case r.Commit < before.Commit || r.Commit == before.Commit && r.Index <= before.Index:
			all = append(all, found("key %s of %s: version %d, committed at %s/%d, comes after %s/%d", r.Key, r.Topic, r.Version, r.Commit, r.Index, before.Commit, before.Index))
		}
	}
	return all
}

// Repeats counts records that come again, and finds those that must not.
func Repeats(h *History) (count int, all []Finding) {
	first := map[string]*Record{}
	for _, r := range inOrder(h) {
		f := first[r.ID]
		if f == nil {
			first[r.ID] = r
			continue
		}
		count++
		switch {
		case f.Appended.Before(h.Fault.Began.Add(-Unconfirmed)):
			all = append(all, found("repeat: %s/%d@%d of version %d of key %s, which was there %s before the fault",
				r.Topic, r.Partition, r.Offset, r.Version, r.Key, h.Fault.Began.Sub(f.Appended).Round(time.Millisecond)))
		case !slices.ContainsFunc(h.Streams, func(s Stream) bool { return mayRepeat(h, s, r) }):
			all = append(all, found("repeat: %s/%d@%d of version %d of key %s, and no stream began between the fault and it, at or before %s",
				r.Topic, r.Partition, r.Offset, r.Version, r.Key, r.Commit))
		}
	}
	return count, all
}

// mayRepeat tells whether s began after the fault, before r, and from a position
// that is not past r's.
func mayRepeat(h *History, s Stream, r *Record) bool {
	return !s.Began.Before(h.Fault.Began.Add(-tick)) && !s.Began.After(r.Appended.Add(tick)) && s.Resume <= r.Commit
}

// Recovery is how long it took, from the healing, to the first record that had not
// been there, and until all was there that had been committed by then. Where nothing
// had to be healed the first record is that of a row written after the fault, since
// others may have been on their way, and what had been committed by its arrival counts.
// ok is false when nothing came.
func Recovery(h *History) (first, drained time.Duration, ok bool) {
	healed, until := h.Fault.Healed, h.Fault.Healed
	itself := !healed.After(h.Fault.Began)
	at := map[string]time.Time{}
	for _, r := range inOrder(h) {
		if _, seen := at[r.ID]; !seen {
			at[r.ID] = r.Appended
		}
	}
	for _, t := range h.Txns {
		if itself && t.Began.Before(healed) {
			continue
		}
		for _, r := range t.Rows {
			appended, there := at[r.ID]
			// Kafka's clock has milliseconds.
			if d := appended.Sub(healed); there && d > 0 && (!ok || d < first) {
				first, ok = d, true
			}
		}
	}
	if itself {
		until = healed.Add(first)
	}
	for _, t := range h.Txns {
		if t.Ended.After(until) {
			continue
		}
		for _, r := range t.Rows {
			if appended, there := at[r.ID]; there {
				drained = max(drained, appended.Sub(healed))
			}
		}
	}
	return first, drained, ok
}
