//go:build unix

package doctor_test

import (
	"strings"
	"testing"

	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/ops/doctor"
	"github.com/gapless/gapless/relay/kafkastate"
)

// plant is something wrong that a check has to find.
type plant struct {
	check string
	what  string
	// world is where all is well; nil: newWorld. It is looked at before the fault is
	// planted, to show that the check says yes there.
	world func(t *testing.T) *world
	fault func(w *world)
	// born: the server is made with the fault, and there is no look before.
	born bool
	want doctor.Outcome
	says string // in Found
	fix  string // in Fix
}

// withKafka is a world with a broker, and all topics on it.
func withKafka(t *testing.T) *world {
	w := newWorld(t)
	w.withKafka()
	return w
}

// own is a world on a server of its own, with the schema and a slot.
func own(settings map[string]string) func(*testing.T) *world {
	return func(t *testing.T) *world {
		w, s := newServer(t, settings)
		pgtest.Migrate(t, s.SuperuserURL())
		w.withSlot("gapless")
		return w
	}
}

// bare is one without.
func bare(settings map[string]string) func(*testing.T) *world {
	return func(t *testing.T) *world {
		w, _ := newServer(t, settings)
		return w
	}
}

// before is sql to run before the look; after is the fault, as sql.
func before(statements ...string) func(*testing.T) *world {
	return func(t *testing.T) *world {
		w := newWorld(t)
		after(statements...)(w)
		return w
	}
}

func after(statements ...string) func(*world) {
	return func(w *world) {
		w.Helper()
		for _, s := range statements {
			w.exec(strings.ReplaceAll(s, "SLOT", w.cfg.Slot))
		}
	}
}

// onEmitters changes PUBLIC's right on what emits messages, whose arguments differ
// between versions.
func onEmitters(verb, preposition string) string {
	return `do $$ declare f regprocedure; begin
		for f in select oid from pg_proc where proname = 'pg_logical_emit_message' loop
			execute format('` + verb + ` execute on function %s ` + preposition + ` public', f);
		end loop;
	end $$`
}

func altered(setting, value string) func(*world) {
	return func(w *world) { w.alter(ordersTopic, setting, value) }
}

// stateTopic makes the topic of a relay's state.
func stateTopic(partitions int32, policy, maxBytes string) func(*world) {
	return func(w *world) {
		_, err := w.admin().CreateTopic(w.Context(), partitions, 1, map[string]*string{"cleanup.policy": &policy, "max.message.bytes": &maxBytes}, kafkastate.DefaultTopic)
		if err != nil {
			w.Fatal(err)
		}
	}
}

// shadowed lets the doctor's session find a function of ours in the place of one of
// Postgres: no server that is old can be had here.
func shadowed(statement string) func(*world) {
	return func(w *world) {
		w.exec("create schema plant")
		w.exec(statement)
		w.option("search_path=plant,pg_catalog")
	}
}

// record is a relay's progress, with what is wrong with it.
func progressed(system, timeline, lsn string) func(*world) {
	return after("insert into gapless.relay_progress (slot, system_id, timeline, resume_lsn) select 'SLOT', " + system + ", " + timeline + ", " + lsn)
}

// fewerPartitions leaves the outbox with partitions for some days.
func fewerPartitions(days string) string {
	return `do $$ declare p regclass; last date := current_date + ` + days + `; begin
		for p in select i.inhrelid::regclass from pg_inherits as i join pg_class as c on c.oid = i.inhrelid
			where i.inhparent = 'gapless.outbox'::regclass
			and (c.relname like '%_max' or right(c.relname, 8)::date >= last) loop
			execute format('drop table %s', p);
		end loop;
		create table gapless.outbox_plant (like gapless.outbox including all);
		execute format('alter table gapless.outbox attach partition gapless.outbox_plant for values from (%L) to (maxvalue)', last || ' 00:00:00+00');
	end $$`
}
