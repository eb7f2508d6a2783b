package saga

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/consumers/internal/participant"
	"github.com/gapless/gapless/sql"
)

// data is gapless.saga.data: what has no column of its own.
type data struct {
	Order     *Order                `json:"order,omitempty"`
	Direction Direction             `json:"direction,omitempty"`
	Flagged   bool                  `json:"flagged,omitempty"`
	Attempts  int                   `json:"attempts,omitempty"`
	Forward   map[string]StepStatus `json:"forward,omitempty"`
	Undone    map[string]StepStatus `json:"undone,omitempty"`
}

type sagaRow struct {
	SagaID       uuid.UUID `db:"saga_id"`
	Status       Status    `db:"status"`
	Step         string    `db:"step"`
	Reason       string    `db:"reason"`
	Data         data      `db:"data"`
	CancelWanted bool      `db:"cancel_wanted"`
	CommandSeq   int64     `db:"command_seq"`
	TraceParent  string    `db:"traceparent"`
}

// read takes the sagas that were locked.
func (w *work) read(rows pgx.Rows) error {
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[sagaRow])
	if err != nil {
		return err
	}
	for _, r := range list {
		w.sagas[r.SagaID] = &instance{traceParent: r.TraceParent, state: State{
			ID: r.SagaID, Status: r.Status, Step: r.Step, Reason: r.Reason, CancelWanted: r.CancelWanted, CommandSeq: r.CommandSeq,
			Order: r.Data.Order, Direction: r.Data.Direction, Flagged: r.Data.Flagged, Attempts: r.Data.Attempts,
			Forward: r.Data.Forward, Undone: r.Data.Undone,
		}}
	}
	return nil
}

func readOrders(rows pgx.Rows, orders map[sagaID]*orderRow) error {
	var (
		id      uuid.UUID
		version int64
		now     time.Time
	)
	_, err := pgx.ForEachRow(rows, []any{&id, &version, &now}, func() error {
		orders[id] = &orderRow{version: version, now: now}
		return nil
	})
	return err
}

// sagaColumns are rows of gapless.saga, column by column.
type sagaColumns struct {
	ids                                         [][16]byte
	statuses, steps, reasons, datas, traceParts []string
	cancels                                     []bool
	seqs, timers                                []int64
}

func (c *sagaColumns) add(i *instance) error {
	s := i.state
	text, err := json.Marshal(data{
		Order: s.Order, Direction: s.Direction, Flagged: s.Flagged, Attempts: s.Attempts, Forward: s.Forward, Undone: s.Undone,
	})
	if err != nil {
		return fmt.Errorf("encode saga %s: %w", s.ID, err)
	}
	timer := time.Duration(i.timer).Microseconds()
	if i.timer == clearTimer {
		timer = -1
	}
	c.ids = append(c.ids, s.ID)
	c.statuses = append(c.statuses, string(s.Status))
	c.steps = append(c.steps, s.Step)
	c.reasons = append(c.reasons, s.Reason)
	c.datas = append(c.datas, string(text))
	c.cancels = append(c.cancels, s.CancelWanted)
	c.seqs = append(c.seqs, s.CommandSeq)
	c.traceParts = append(c.traceParts, i.traceParent)
	c.timers = append(c.timers, timer)
	return nil
}

func (w *work) queueSagas(tx consumers.Tx) error {
	var created, changed sagaColumns
	for _, id := range participant.SortIDs(slices.Collect(maps.Keys(w.sagas))) {
		i := w.sagas[id]
		if !i.isChanged {
			continue
		}
		c := &changed
		if i.isNew {
			c = &created
		}
		if err := c.add(i); err != nil {
			return err
		}
	}
	if c := created; len(c.ids) > 0 {
		tx.Queue(sql.SagaCreate, c.ids, sagaType, definition, c.statuses, c.steps, c.reasons, c.datas, c.cancels, c.seqs, c.traceParts, c.timers)
	}
	if c := changed; len(c.ids) > 0 {
		tx.Queue(sql.SagaSave, c.ids, c.statuses, c.steps, c.reasons, c.datas, c.cancels, c.seqs, c.traceParts, c.timers)
	}
	return nil
}

// stepRow is a row of gapless.saga_step.
type stepRow struct {
	saga      sagaID
	change    StepChange
	commandID *[16]byte
	replyID   *[16]byte
	replyType string
}

// noteSteps keeps the last state of each step that the batch touched: one
// statement may write a row only once.
func (w *work) noteSteps(in input, fx Effects, out output) {
	for _, change := range fx.Steps {
		row := stepRow{saga: in.saga, change: change}
		switch change.Status {
		case Sent:
			for n, c := range out.commands {
				if c.Step == change.Step && c.Direction == change.Direction {
					row.commandID = (*[16]byte)(&out.commandIDs[n])
				}
			}
		default:
			if in.cause != nil {
				row.replyID, row.replyType = (*[16]byte)(&in.cause.ID), in.cause.Type
			}
		}
		n, seen := w.stepAt[change.StepID]
		if !seen {
			w.stepAt[change.StepID] = len(w.steps)
			w.steps = append(w.steps, row)
			continue
		}
		if row.commandID == nil {
			row.commandID = w.steps[n].commandID
		}
		if row.replyID == nil {
			row.replyID, row.replyType = w.steps[n].replyID, w.steps[n].replyType
		}
		w.steps[n] = row
	}
}

func (w *work) queueSteps(tx consumers.Tx) {
	n := len(w.steps)
	if n == 0 {
		return
	}
	var (
		sagas, stepIDs                               = make([][16]byte, n), make([][16]byte, n)
		steps, directions, statuses, replies, errors = make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
		attempts                                     = make([]int32, n)
		commandIDs, replyIDs                         = make([]*[16]byte, n), make([]*[16]byte, n)
	)
	for i, r := range w.steps {
		c := r.change
		sagas[i], steps[i], directions[i], stepIDs[i] = r.saga, c.Step, string(c.Direction), c.StepID
		statuses[i], attempts[i], errors[i] = string(c.Status), int32(c.Attempts), c.Error
		commandIDs[i], replyIDs[i], replies[i] = r.commandID, r.replyID, r.replyType
	}
	tx.Queue(sql.SagaStepSave, sagas, steps, directions, stepIDs, statuses, attempts, commandIDs, replyIDs, replies, errors)
}

func (w *work) queueIgnored(tx consumers.Tx) {
	var (
		sagas, events [][16]byte
		types, whys   []string
		steps         []*[16]byte
	)
	for _, in := range w.ignored {
		sagas, events = append(sagas, in.saga), append(events, in.cause.ID)
		types, whys = append(types, in.cause.Type), append(whys, in.ignored)
		var step *[16]byte
		if id, err := uuid.Parse(in.cause.StepID()); err == nil {
			step = (*[16]byte)(&id)
		}
		steps = append(steps, step)
	}
	if len(sagas) > 0 {
		tx.Queue(sql.SagaIgnoredAppend, sagas, events, types, steps, whys)
	}
}

func queueOrders(tx consumers.Tx, orders map[sagaID]*orderRow) {
	ids := participant.SortIDs(slices.Collect(maps.Keys(orders)))
	n := len(ids)
	if n == 0 {
		return
	}
	var (
		statuses, reasons, stocks = make([]string, n), make([]string, n), make([]string, n)
		versions                  = make([]int64, n)
		confirmed                 = make([]*time.Time, n)
	)
	for i, id := range ids {
		o := orders[id]
		statuses[i], reasons[i], stocks[i] = o.status, o.reason, o.stockStatus
		versions[i], confirmed[i] = o.version, o.confirmedAt
	}
	tx.Queue(sql.SagaOrdersSave, participant.Raw(ids), statuses, reasons, stocks, versions, confirmed)
}
