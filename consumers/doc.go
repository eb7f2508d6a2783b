// Package consumers applies events from Kafka to Postgres, each once.
//
//	err := consumers.Run(ctx, consumers.Config{
//		DatabaseURL: url, Brokers: brokers,
//		Consumers: []consumers.Consumer{{
//			Name: "loyalty", Topics: []string{"outbox.event.order"}, Types: []string{"OrderConfirmed"},
//			Apply: func(ctx context.Context, tx consumers.Tx, d consumers.Delivery) error {
//				tx.Queue("INSERT INTO points …", d.Key)
//				return nil
//			},
//		}},
//	})
//
// # Promise
//
// For each consumer, an event that reaches its topics has its effect exactly
// once in the database, or is a dead letter there, whatever Kafka repeats and
// whoever dies. Effects of one key come about in the order of its partition.
//
// # The path of a batch
//
//	poll ── queue of the partition ── worker ── transaction ── offset marked
//
//	BEGIN; claim all ids, sorted, in gapless.inbox; look for blocked keys    one round trip
//	handlers, in offset order, which queue their statements
//	queued statements; outbox append; COMMIT                                 one round trip
//
// A partition has one worker and at most one transaction at a time. Partitions
// that are ready when a transaction begins share it, so that batches grow under
// load instead of commits.
//
// Where there is a Prepare, it is called before the transaction, for several
// messages at once, but of each key only for the first that is not settled. A
// batch waits for its calls a few milliseconds; a message whose call takes longer,
// and what comes after it in its key, stay behind and go with a later batch. The
// offset that is marked stays before the first message without an outcome.
//
// # Invariants
//
//  1. The claim is in the transaction of the effect. Nothing else decides whether
//     an event was applied: not the offset, not a generation, not a lock.
//  2. Claims are sorted by id, or overlapping batches would deadlock. Blocked keys
//     are looked up after the claim: a claim that waited for its twin must see the
//     block that the twin made.
//  3. An offset is marked after COMMIT, marked offsets are committed when a
//     partition is revoked, and never when it was lost. An offset that is behind
//     costs duplicates; one that is ahead would cost events.
//  4. No savepoints and READ COMMITTED.
//  5. An offset in the database is stored after COMMIT of what it speaks of, and
//     only on the timeline on which that was.
//  6. What is received and not settled is bounded for each partition, by messages
//     and by bytes; a full queue pauses the partition's fetches and nothing else.
//
// # When it goes wrong
//
//   - Serialization failure, deadlock, lock or statement timeout, a lost connection, a
//     database that is away: the same transaction again after a jittered pause. No attempt
//     is counted, nothing is ever parked for it. A batch that a handler's statement fails
//     in this way three times goes on message by message, so that a message which is
//     always too slow holds what comes after it in its partition, not what came before.
//   - A statement of the runtime's own that fails, for whatever reason: the same, and
//     the status says so.
//   - A table, column, function or grant that a handler's statement misses (42P01, 42703,
//     42883, 3F000, 42501): the handler was deployed before its migration, and
//     the partition waits for that as it waits for a dependency.
//   - A prepared statement that a pooler's other server session does not know: the same
//     transaction again. Behind one that keeps none, set the pool's QueryExecMode to
//     exec or simple_protocol: the statements here run in every mode.
//   - [Unavailable]: what comes before the message is applied, then the partition
//     waits and tries again, however long. No attempt is counted.
//   - [Poison]: parked at once.
//   - Any other error, and a panic: the batch is rolled back and runs message by
//     message. A failure is written to gapless.inbox_attempt in a transaction of
//     its own; the message is tried again until MaxAttempts, RetryFor or
//     RetryMessages is reached, with its offset held, and then parked.
//
// To park is one transaction: the row of gapless.dead_letter with the record's
// bytes (the relay sends it to dlq.<group>.<topic>), the key's row of
// gapless.key_block, and the inbox row with outcome parked. Later messages of the
// key go to gapless.key_block_message with their bytes, outcome waiting, until a
// person redrives or discards the dead letter. A null key blocks only itself.
//
// # When the process dies
//
//   - Before COMMIT: nothing happened; the batch comes again.
//   - After COMMIT, before its answer or before the offset is committed: the batch
//     comes again and is found to be claimed.
//   - While a handler runs, because of the message: the row of
//     gapless.inbox_assignment that was left behind tells the partition's next
//     owner, which records an attempt at the next BatchSize new messages before it
//     begins them; what reached the topic later is not among them. It tries them
//     together, for most deaths have nothing to do with a message. What was on
//     trial at a death is tried one by one, and from the third on while nothing
//     else is, so that what only ran beside the culprit is not parked with it.
//     After MaxAttempts deaths the message is parked with the reason process_died.
//     Where MaxAttempts is less than three, the first trial is one by one already.
//   - Between a failure and its record: one attempt more than counted.
//   - While parking: all of it or none.
//
// Two processes on one partition (a zombie after a rebalance): each event is
// claimed by one of them; the other waits for the claim and finds a duplicate.
//
// # Odd records
//
//   - An event id that was claimed before: outcome duplicate, nothing is done,
//     also when the content differs. The first one committed counts.
//   - No id header: the id is made of topic, partition and offset, so the record is
//     applied once however often it is delivered, but a second record with the same
//     content is another event. An id that is no UUID: made of topic and raw id.
//   - A type that the consumer does not name: claimed with outcome ignored, no
//     handler sees it.
//   - No type, for a consumer that names types: parked with the reason no_type,
//     because nobody can tell whether it was meant for it. If it is a tombstone
//     too, it says nothing and is ignored.
//   - A tombstone with a type: delivered with a nil Value.
//   - A value that cannot be decoded: the handler says [Poison].
//
// # When the database goes back
//
// A standby is promoted without the last transactions, a backup is restored: the
// effects of messages are gone whose offsets are committed in Kafka. So how far
// each partition is settled stands in gapless.inbox_offset too, and a partition
// begins at the lesser of the two. A process that runs on meanwhile finds another
// timeline in its next transaction, which it then does not commit, or within a
// second when nothing comes, and joins its groups anew. What comes again and kept
// its effect is a duplicate. A copy of a stopped server's files keeps the timeline:
// put under a running process, it is noticed within a second by the offsets alone,
// and effects of that second may come before those that are missing.
//
// A server that dies is no such case: a batch's transaction waits for its COMMIT
// to be durable, also where synchronous_commit is off.
//
// # What it does not do
//
// It does not redrive or discard dead letters, create topics or migrate. Effects
// outside the database are not exactly once: make them in Prepare with an
// idempotency key, or after the commit from a row that says so. It never deletes
// a claim: a rebuild is a new generation. Handlers have no timeout of ours: one
// that hangs holds its partition, and the status shows for how long.
//
// # Metrics
//
//	gapless_inbox_events_total{consumer,type,result}           result: applied, duplicate, ignored, waiting, parked
//	gapless_inbox_failures_total{consumer,type}                single tries that failed
//	gapless_inbox_retries_total{consumer,reason}               again, singly, failed, held
//	gapless_inbox_process_duration_seconds{consumer}           committed transactions
//	gapless_inbox_batch_messages{consumer}                     messages in each
//	gapless_inbox_lag_messages{consumer,topic,partition}       settled to end
//	gapless_inbox_lag_seconds{consumer,topic,partition}        age of the oldest one received and not settled
//	gapless_inbox_partition_held{consumer,topic,partition}     1 while it waits or retries
//	gapless_inbox_blocked_keys{consumer}
//	gapless_inbox_waiting_messages{consumer}                   behind blocked keys
//	gapless_dlq_messages{consumer}                             open dead letters
//	gapless_dlq_oldest_seconds{consumer}
//	gapless_dlq_in_total{consumer,cause}                       failed, panic, process_died, no_type, poison
package consumers
