package relay

import (
	"context"
	"time"
)

// staleAfter is how long figures stand when no newer ones can be had.
const staleAfter = 3 * lookEvery

// watch reads the server's figures, and tells of this relay, until ctx ends, in whatever state the relay is: the
// slot that nobody reads is the one to be told of, and then no relay streams.
func (r *Relay) watch(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	open := transactions{}
	var newest time.Time
	telling := time.NewTicker(tellEvery)
	defer telling.Stop()
	var last told
	failing := false
	for ctx.Err() == nil {
		f, err := r.figures(ctx)
		now := time.Now()
		switch {
		case err == nil:
			r.metrics.show(f, open.oldest(now, f.holding))
			newest = now
		case ctx.Err() != nil:
			return
		case now.Sub(newest) >= staleAfter:
			r.metrics.forget()
		}
		if err != nil && !failing {
			r.log.WarnContext(ctx, "figures of the slot cannot be read, trying again", "error", err)
		}
		failing = err != nil
		for look := false; !look; {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				look = true
			case <-r.wake:
				look = true
			case <-telling.C:
				if last, err = r.tell(ctx, last); err != nil {
					r.log.DebugContext(ctx, "status cannot be stored, trying again", "error", err)
				}
			}
		}
	}
}

// figures are those of the server, and of the state where its place is known.
func (r *Relay) figures(ctx context.Context) (figures, error) {
	f, err := r.store.figures(ctx)
	s := r.remembered()
	if err != nil || s == nil {
		return f, err
	}
	n, err := s.parkedCount(ctx)
	f.parked = &n
	return f, err
}

// lookNow is for a change of which the next look would tell late.
func (r *Relay) lookNow() {
	select {
	case r.wake <- struct{}{}:
	default: // it is asked for already
	}
}

// transactions remembers when each transaction id that holds something back was first
// seen. An id is given out once: one that was held at two looks was held between them. So
// its age is known from below, by every login, and no privilege is needed for it.
type transactions map[string]time.Time

// oldest takes what is held now and returns for how long the oldest is known to be.
func (t transactions) oldest(now time.Time, held []holder) time.Duration {
	var most time.Duration
	current := make(map[string]bool, len(held))
	for _, h := range held {
		current[h.XID] = true
		since := now.Add(-time.Duration(h.OpenSeconds * float64(time.Second)))
		if seen, ok := t[h.XID]; !ok || since.Before(seen) {
			t[h.XID] = since
		}
		most = max(most, now.Sub(t[h.XID]))
	}
	for xid := range t {
		if !current[xid] {
			delete(t, xid)
		}
	}
	return most
}
