// Package consumerstest drives a [consumers.Consumer] against a real database
// without Kafka: in the same transactions, with the same claims, retries and dead
// letters as in service.
//
//	h := consumerstest.New(t, databaseURL, consumer)
//	h.Feed(h.Event("order", "o-1", &gaplessv1.OrderPlaced{…}))
//	h.Emitted()      // the events it wrote into the outbox
//	h.DeadLetters()  // what it could not apply
//
// What Kafka does to a consumer can be done to it here:
//
//   - the same records again ([Harness.Feed] twice; [Harness.FeedTwice]), in one
//     batch and in the next;
//   - another order ([Harness.Shuffled], from a printed seed);
//   - a crash at any point of a batch ([Harness.Crash]): the database sees its
//     connection die there, and the records come again;
//   - the COMMIT's answer lost, which is a Feed of records that were fed before;
//   - a process that dies of a message ([Harness.AfterUncleanDeath]).
//
// [Harness.Repeatedly] does all of it and compares what you say is the effect.
//
// It does not test subscriptions, rebalances or offsets: those are the runtime's.
package consumerstest
