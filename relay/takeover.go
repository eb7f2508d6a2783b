package relay

import (
	"context"
	"fmt"
	"time"

	"github.com/gapless/gapless/relay/core"
	"github.com/gapless/gapless/relay/pgoutput"
	"github.com/gapless/gapless/relay/replication"
)

// Sent is how far another program has sent of a slot that the relay takes over from
// it. What is in doubt is left out: it comes again, where too much would be lost.
type Sent struct {
	// Commit is the end of the newest transaction before which everything has been
	// sent; 0 where none is known.
	Commit core.LSN
	// Row is the newest change that was sent of the transaction after it, which has
	// the id XID; 0 where none is known.
	Row core.LSN
	XID uint32
}

// takenOver is the first position on a slot without a record.
// until is where the rows end of which the topics tell whether they were sent.
func (r *Relay) takenOver(ctx context.Context, s start) (p core.Position, until core.LSN, err error) {
	p = core.Position{Resume: s.slotAt}
	switch {
	case r.cfg.TakeOverTopics:
		until, err = r.recall(ctx, s, p)
		return p, until, err
	case r.cfg.TakeOver != nil:
		p, err = r.sentBefore(ctx, p, s)
		return p, 0, err
	}
	return p, 0, nil
}

// sentBefore is the position that the other program tells.
func (r *Relay) sentBefore(ctx context.Context, p core.Position, s start) (core.Position, error) {
	sent, err := r.cfg.TakeOver(ctx)
	if err != nil {
		return p, fmt.Errorf("find out how far was sent: %w", err)
	}
	if newest := max(sent.Commit, sent.Row); newest > s.system.Flushed {
		return p, refuse("If it belongs to another server, name the right one. If this server has lost commits, consumers may have events that it does not have.",
			"the position to take over, %s, is ahead of the server's WAL, which ends at %s", newest, s.system.Flushed)
	}
	if sent.Commit != 0 && s.slotAt > sent.Commit {
		return p, refuse("If rows between the two were moved past by somebody, write them again. If the other program moved its slot there itself, while it had nothing to send, "+
			"start without the position: the relay then begins at the slot.",
			"slot %q is at %s, ahead of the position to take over, %s: what lies between will not come by it", r.cfg.Slot, s.slotAt, sent.Commit)
	}
	if err := r.refuseForeign(ctx, sent, s); err != nil {
		return p, err
	}
	p.Resume = max(p.Resume, sent.Commit)
	if sent.Row != 0 {
		if p, err = r.partlySent(ctx, p, sent, s); err != nil {
			return p, err
		}
	}
	r.log.InfoContext(ctx, "taking over", "slot_at", s.slotAt, "resume", p.Resume, "partial_commit", p.PartialCommit, "partial_index", p.PartialIndex)
	return p, nil
}

// partlySent looks at the first transaction after p, without confirming anything, for
// how many of its changes were sent: all before sent.Row, and the one that is there. The
// rows of one COPY share an LSN, so where several are there all of those come again. It
// is another transaction if its id is another: transactions overlap in the log, so the
// LSNs of rows do not tell.
func (r *Relay) partlySent(ctx context.Context, p core.Position, sent Sent, s start) (core.Position, error) {
	var m pgoutput.Message
	var commit core.LSN
	var before, there int64
	err := r.look(ctx, s, p.Resume, map[string]bool{}, func(_ *replication.Conn, f *replication.Frame) (done bool, err error) {
		if f.Data == nil {
			return commit == 0 && f.End >= s.system.Flushed, nil // nothing was committed after p
		}
		if err := pgoutput.Decode(f.Data, &m); err != nil {
			return false, err
		}
		if m.Kind == pgoutput.KindMessage && !s.messages {
			return false, nil // the stream will not have it
		}
		isSent := m.Kind.IsChange() && commit != 0 && f.Start <= sent.Row
		switch {
		case m.Kind == pgoutput.KindBegin && m.Begin.XID != sent.XID:
			return true, nil
		case m.Kind == pgoutput.KindBegin:
			commit = core.LSN(m.Begin.CommitLSN)
		case isSent && f.Start < sent.Row:
			before++
		case isSent:
			there++
		case m.Kind == pgoutput.KindCommit || m.Kind.IsChange() && commit != 0:
			if there == 1 {
				before++
			}
			if before > 0 {
				p.PartialCommit, p.PartialIndex = commit, before
			}
			return true, nil
		}
		return false, nil
	})
	return p, err
}

// refuseForeign wants the position to be where something ends that the slot sends, which is
// what the other program would have heard of. One of another server, or of before this one
// was restored, would skip rows without a word where it happens to be in this one's log.
func (r *Relay) refuseForeign(ctx context.Context, sent Sent, s start) error {
	var m pgoutput.Message
	isThere := sent.Commit == 0 || sent.Commit == s.slotAt
	if isThere {
		return nil
	}
	err := r.look(ctx, s, s.slotAt, map[string]bool{}, func(_ *replication.Conn, f *replication.Frame) (done bool, err error) {
		if f.Data == nil {
			return f.End >= sent.Commit, nil
		}
		if err := pgoutput.Decode(f.Data, &m); err != nil {
			return false, err
		}
		switch m.Kind {
		case pgoutput.KindCommit:
			end := core.LSN(m.Commit.EndLSN)
			isThere = end == sent.Commit
			return end >= sent.Commit, nil
		case pgoutput.KindMessage: // one outside of transactions is heard of by itself
			isThere = f.Start == sent.Commit
		}
		return isThere, nil
	})
	if err != nil || isThere {
		return err
	}
	return refuse("If it is of another server, or of before this one was restored, leave it out: the relay then begins where the slot is. "+
		"If the other program reads another publication, name that one.",
		"the position to take over, %s, is the end of nothing that slot %q sends of publication %q", sent.Commit, r.cfg.Slot, r.cfg.Publication)
}

// look reads the slot from a position on, with logical messages of the prefixes, until f
// says that it is done. Nothing is confirmed, so all of it comes again.
func (r *Relay) look(ctx context.Context, s start, from core.LSN, prefixes map[string]bool, f func(*replication.Conn, *replication.Frame) (done bool, err error)) error {
	conn, err := r.store.dial(ctx)
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
		defer cancel()
		_ = conn.Close(closing) // nothing was confirmed, nothing is lost with it
	}()
	err = conn.Start(ctx, replication.Options{Slot: r.cfg.Slot, Publication: r.cfg.Publication, Start: from, Messages: true, Prefixes: prefixes})
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, conn.Interrupt)
	defer stop()
	for told := time.Now(); ctx.Err() == nil; {
		frame, ok, err := conn.Next()
		if err != nil {
			return err
		}
		if now := time.Now(); frame.Reply || now.Sub(told) > time.Second {
			told = now
			if err := conn.Status(s.slotAt, now, false); err != nil {
				return err
			}
		}
		if !ok {
			if err := conn.Fill(100 * time.Millisecond); err != nil {
				return err
			}
			continue
		}
		if done, err := f(conn, &frame); done || err != nil {
			return err
		}
	}
	return ctx.Err()
}
