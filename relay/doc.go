// Package relay streams outbox tables from Postgres' write-ahead log to a
// Sink, such as Kafka.
//
// # Promise
//
//   - Every row committed to a published table after its slot was made reaches
//     the sink or gapless.parked: at least once, and per key the first
//     occurrences in commit order. Nothing that rolled back does.
//   - The same row is the same record, byte for byte, however often it is sent.
//   - When that cannot be shown to hold, Run returns a *Refusal and says what
//     to do. It never makes a slot anew, never starts "from now", and never
//     passes over a row.
//   - Memory is bounded by what may be in flight, plus the largest row; at a start that
//     finds the slot ahead of the record, by 8 bytes for each row written since the newest
//     proof.
//
// # States
//
//	            slot is active                    sink silent for HoldAfter
//	Starting ─────────────────▶ Standby   Streaming ◀──────────────▶ Holding
//	  │  ▲                        │           │                         │
//	  │  └── stream ended ────────┼───────────┴─────────────────────────┘
//	  │                           │
//	  └── checks hold, START ─────┴──▶ Streaming ── ctx ends ──▶ Stopped
//	  └── checks fail ────────────────────────────────────────▶ Stopped (*Refusal)
//
// The slot is the leader lock: Postgres gives it to one client. Any number of
// relays may run on one slot; all but one stand by and ask for it about three
// times a second.
//
// One that dies lets go of the slot at once; one that is stopped, or cut off from the
// server, within DeadAfter: the stream has a wal_sender_timeout of its own.
//
// An operator's pause (gapless.relay_control) is asked for once a second and before a
// stream reads anything. A Paused stream sends nothing new, keeps its slot and goes on
// answering the server. A row of the signal table pauses and resumes too, at its place in
// the log; where there is such a table, a Paused stream reads on for a resume, and the next
// stream begins at the position again. See Signals.
//
// # LSN rules
//
// A position is (resume, partial commit, partial index), see package core. It
// is written to gapless.relay_progress after the sink has acknowledged, and
// told to the slot after it is written. On a start, and on each reconnect:
//
//	system identifier, timeline       must be the record's; a newer timeline is
//	                                  followed if the record is not past the
//	                                  point where it began
//	record ahead of the server's WAL  refused: the server would skip rows
//	                                  without a word
//	record gone, or its incarnation   refused: the server went back on the same timeline
//	  not above what this process had
//	slot behind the record            usual: the record decides, the server
//	                                  honours a start above the slot's position
//	slot ahead of the record          an idle relay's keepalives do that; so does
//	                                  somebody who loses rows. Each row committed
//	                                  since the newest proof must be still to
//	                                  come by the slot, else refused. Messages are in
//	                                  no table: where they are sent the slot is never
//	                                  told more than the record, so one ahead is refused.
//	                                  Nor is it where the login may not read the tables,
//	                                  nor, with tables of one's own, while a transaction
//	                                  is open that is older than the newest row
//	publication not the same          a table added is nothing; one that is there and is
//	  as at the newest proof          not published any more, refused by its name; else
//	                                  refused if a row was written since that proof.
//	                                  Looked for every ten seconds while streaming, too:
//	                                  Postgres 18 passes over what it does not publish
//	                                  without a word
//	it publishes what the relay       refused: each row that came would write another
//	  writes itself
//	rows of a partition that was      refused, where partitions are published under
//	  taken off before they are read    their own names: its table is not known any more
//	row security hides rows           refused, where rows have to be looked for
//	no slot, but a record             refused
//	no slot, no record                a slot is made if the tables are empty, and the
//	                                  publication has no other slot whose name may be
//	                                  meant
//
//	slot, no record                 begins at the slot's position, or with TakeOver
//	                                where the program that had it before has got to,
//	                                be it within a transaction, if something that the
//	                                slot sends ends there. With TakeOverTopics at
//	                                the slot's position, but for the rows that are at
//	                                the ends of their topics: a row counts as sent
//	                                where a record with its id, key and value is in its
//	                                topic, among the last 10,000 of a partition that
//	                                the slot gives
//
// An incarnation number in the record fences relays that lost the slot and do
// not know it: their next write of progress finds another number. Nor does a write take
// the record back: one that was given up may come after its successor.
//
// # Where its state is
//
// Position, parked rows and wishes are in schema gapless of the database, beside the slot;
// or, where the relay may not write there, in a compacted topic, see package kafkastate.
// Config.Storage chooses. The laws are the same in both. What follows names the tables.
// The place is found out at the first start, before anything is sent:
//
//	schema there                  that; also when it may not be written to: an error
//	not there, record in Kafka    the topic
//	not there, may be made        made, and then that
//	none of these                 the topic
//	record in the other place,    refused
//	  or in both
//
// A topic without a record of the slot is a slot without a record, see above. The first
// record is written once the slot is held: a relay that dies before has changed nothing.
// Fencing is by a transactional id of topic and slot. The steps that are not the
// database's:
//
//	fenced, incarnation not written     the next owner finds the position of before
//	records written, not committed      aborted by the next owner; nothing of them is seen
//	committed, answer lost              read from the topic; the write may be made again
//	row marked as sent, bytes not yet   one transaction: both or none
//	  removed
//
// Retention is not possible there, and of a row that is too large for the topic the bytes
// are not kept. At Storage.MaxParked parked rows the stream holds.
//
// # When it dies
//
//	before the sink has a record    sent again from the position: repeats
//	sink has it, not stored         sent again: repeats
//	stored, slot not told           skipped: the start is above the slot's position
//	row parked, not stored          parked again: found by its position, no second row
//	signal executed, not passed     passed over: it was noted in the same statement
//	parked row sent, not settled    sent again, before what waits behind it
//	amid a take-over by topics      looked at again, as long as the position is before what
//	                                was looked at: what this one has sent is found, too
//	amid a replay by signal         the next stream goes on with it: a page repeats
//	in mid transaction              the first partial_index changes are skipped
//	answer to a write of progress   the write is made again, it is idempotent; one
//	  is lost                       that comes late takes nothing back
//	two relays on one slot          Postgres refuses the second; a relay that
//	                                lost the slot is fenced by the incarnation,
//	                                what it had buffered may arrive as repeats
//
// # What the sink will not take
//
// A record that can never be sent (too large, bad topic or header, refused by
// the broker for what it is) goes to gapless.parked with its bytes, and so do
// the later rows of its key, in order; other keys flow on. (A row of which not even
// the key can be read blocks nothing, so later rows of what would have been its key go
// out first.) Policy has the alternatives. An operator's request has rows sent again, see redrive: by the
// relay that has the slot, which alone knows what of the key is still to come.
// A zombie parks and settles nothing: those writes are fenced like progress. A broker refuses a
// whole batch for one record: the topic's records then go out one by one until
// the one is found.
//
// A topic that does not exist or may not be written to is held, alone: of its rows
// the places in the log are kept and no bytes, the position stays before the first of
// them, and the rows of other topics go out. When the topic is back the stream begins
// again at the position, and skips what was acknowledged behind it, as after any
// failure of the sink. That is known to this process alone: after a death it is sent
// again. After 100,000 rows the stream holds too: Status says Holding and what for.
//
// A producer that has sent nothing to a partition for a day is forgotten by the broker,
// which then takes a batch that was on its way behind one that it refused. So a client is
// given up after an hour, at a moment when nothing of it is under way; until there is one,
// no more of a topic goes out in a round than one batch holds.
//
// Records go out in rounds, one after the other: a partition without a leader, or with too
// few replicas in sync, makes the round wait, and with it every topic of this relay. Small
// rounds of a busy stream begin up to 3 ms apart, see spacing.go.
//
// # Replay
//
// A Replayer sends rows of an outbox table again on demand, read by SQL, from a process of
// its own. It takes from the relay what that has passed, and keeps to it, so that first
// occurrences stay the stream's; but for rows of a table of one's own that are older than the
// slot, or than the table's place in the publication, of which nothing tells, see ReplayPlan.
// Signals start, stop and pause replays too, which run beside the stream in the process that
// has the slot, with a sink of their own.
//
// # Signals
//
// Signals are rows that somebody inserts into Config.SignalTable, in the form that
// Debezium gives it: id, type, data (a JSON object, or nothing). They come by the log, so
// each stands between the events that were committed before and after it, and one that
// was rolled back does nothing.
//
//	log     writes data's "message" into the log, with the position for {}
//	pause   as 'relay pause', at this place: nothing behind it is sent. Once: after a
//	        restart that reads it again, what operators have decided since stands
//	resume  as 'relay resume'. It ends a pause that was made before it, by a signal or by
//	        an operator, and does nothing to a later one
//
//	execute-snapshot  sends rows of outbox tables again: starts a replay (see Replayer) of
//	                  each that data-collections matches, of the rows for which its filter in
//	                  additional-conditions is true. Once for a signal, however often it is read
//	stop-snapshot     stops such replays, all or those of the tables in data-collections
//	pause-snapshot    holds them; resume-snapshot lets them go on
//
// These replays run beside the stream, in the process that has the slot. They end with the
// stream and the next one goes on with them, with a page sent twice at most. They send all
// that was committed before the signal, and only what the stream has passed; while the
// stream is paused, nothing. A replay that cannot be carried out is given up with a warning.
// A filter is SQL that runs with the relay's rights, read only: whoever may write into the
// signal table is trusted with those.
//
// What else there is (an unknown type or field, a blocking snapshot, data that is no JSON
// object, a table without these columns) is passed over with a warning. No signal ends the
// stream.
//
// A pause must not keep its own end from being read. So a relay that is paused, and has a
// signal table, reads on, without sending, and without moving its position or its slot:
// it takes notice of a resume alone. When it goes on, a new stream begins at the position
// and reads again what was passed.
//
// # What it does not do
//
// It does not order across keys, removes no row from the outbox unless Retention
// says so, does not create topics, does not look at payloads, and never runs a SELECT on a
// published table while streaming (only at a start that finds something odd).
// It does keep the outbox's daily partitions a fortnight ahead, once an hour:
// where no API runs nobody else would.
// Exactly-once production and recovery of a lost slot are not here.
//
// An option of the publication that hides rows (publish without insert) and is taken back
// within ten seconds, between two looks, is not noticed, and what was written meanwhile
// is lost: in a publication whose options were altered nothing tells which. A relay under
// load must not be refused for an option that does no harm. Nor is a table noticed that
// leaves a published schema by ALTER TABLE … SET SCHEMA.
//
// # Metrics
//
// All carry the label slot; the program adds the label relay where it runs several.
//
//	gapless_relay_events_total{topic,result}     rows: published, parked, waiting, redriven, failed
//	gapless_relay_commit_to_ack_seconds          commit to acknowledgement
//	gapless_relay_publish_duration_seconds       hand-over to acknowledgement, of one record in each batch
//	gapless_relay_lag_seconds                    time since the commit of the oldest event in flight; 0 when none is
//	gapless_relay_unpublished_bytes              WAL known of and not acknowledged
//	gapless_relay_queue_records, _queue_bytes    in flight
//	gapless_relay_held_records                   waiting for a topic
//	gapless_relay_progress_writes_total{result}  stored, failed
//	gapless_relay_partitions_dropped_total       of gapless.outbox, by retention
//	gapless_relay_rows_deleted_total{table}      of tables of one's own, by retention
//	gapless_relay_heartbeats_total{result}       sent, failed
//	gapless_relay_reconnects_total{peer,reason}  streams started again
//	gapless_relay_leader, gapless_relay_holding, gapless_relay_paused  0 or 1
//	gapless_rows_parked                          rows parked or waiting
//	gapless_slot_active, _retained_bytes, _safe_bytes, _unconfirmed_bytes, _status{status}
//	gapless_oldest_transaction_seconds           how long the server's oldest transaction is known to be open
//
// The last three are the server's: every relay that reaches it tells them every ten
// seconds, a standby too, and drops them when it has had no newer ones for thirty. The
// gauges above are of the stream, and 0 in a relay that has none. A transaction's age is how
// long this process has seen its id (when it began, a login without pg_read_all_stats
// is not told), so it begins again with the process. Only what holds something back
// counts: a transaction with an id, a prepared one, a snapshot behind which others have
// written.
//
// # Crash points
//
// relay.after_connect, relay.after_begin, relay.after_track, relay.after_send,
// relay.after_commit, relay.after_ack, relay.after_store, relay.after_confirm,
// relay.after_park, relay.after_resend, relay.after_signal, relay.after_page, relay.stopping;
// with the state in Kafka also relay.after_fence, and relay.after_state (written, not
// committed).
package relay
