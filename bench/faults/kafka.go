package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/gapless/gapless/bench/internal/bed"
	"github.com/gapless/gapless/internal/kafkaserver"
)

// kafkaFaults are what happens to the broker.
func kafkaFaults() []fault {
	return []fault{
		{name: "broker-kill", what: "kill -9 of the broker, and a start", make: brokerKilled},
		{name: "broker-restart", what: "the broker is shut down and started", make: brokerRestarted},
		{name: "broker-stopped", what: "SIGSTOP of the broker for eight seconds, twice wal_sender_timeout", make: brokerStopped},
		{name: "broker-away-at-start", what: "no broker for a minute when the relay starts", make: brokerAway, cold: true},
		{name: "leader-moved", what: "each partition's leader moves from broker to broker, ten times (kfake)", make: leaderMoved, broker: threeFakes},
		{name: "disk-full", what: "the broker's disk (a tmpfs) is full; room is made and the broker started", make: diskFull, broker: smallDisk},
		{name: "topic-deleted", what: "a topic is deleted, its rows go on, and it is made again after five seconds", make: topicDeleted},
	}
}

func brokerKilled(ctx context.Context, r *run) error {
	r.begins()
	done := r.broker.kafka.Done()
	if err := r.broker.kafka.Kill(ctx); err != nil {
		return err
	}
	<-done
	r.proves("SIGKILL")
	err := r.broker.kafka.Restart(ctx)
	r.heals()
	return err
}

func brokerRestarted(ctx context.Context, r *run) error {
	before := r.broker.kafka.Pid()
	r.begins()
	err := r.broker.kafka.Restart(ctx)
	r.heals()
	if after := r.broker.kafka.Pid(); after != before {
		r.proves("another process")
	}
	return err
}

func brokerStopped(ctx context.Context, r *run) error {
	r.begins()
	if err := r.stopBroker(ctx); err != nil {
		return err
	}
	a := r.relay("a")
	// The relay says that it holds after five seconds without an acknowledgement.
	err := r.until(ctx, a, 15*time.Second, "holding", func(ctx context.Context) bool {
		return status(ctx, a) == "holding"
	})
	err = errors.Join(err, pause(ctx, 3*time.Second), r.broker.kafka.Resume())
	r.heals()
	if err != nil {
		return err
	}
	// That was longer than wal_sender_timeout, and Postgres must not have minded.
	n, err := metric(ctx, a, reconnects)
	if err == nil && n > 0 {
		err = fmt.Errorf("the relay reconnected %.0f times while the broker was stopped", n)
	}
	r.proves("stopped, says the kernel; the relay held, and kept its stream")
	return err
}

// stopBroker stops the broker's process, and returns when the kernel says that it is
// and the last answers have come.
func (r *run) stopBroker(ctx context.Context) error {
	k := r.broker.kafka
	if err := k.Pause(); err != nil {
		return err
	}
	err := eventually(ctx, 5*time.Second, func(context.Context) error {
		if state := stateOf(k.Pid()); state != "T" {
			return fmt.Errorf("the broker's state is %q", state)
		}
		return nil
	})
	return errors.Join(err, pause(ctx, 200*time.Millisecond))
}

// stateOf is a process' state (proc_pid_stat(5)); "" when there is none.
func stateOf(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, after, ok := strings.Cut(string(text), ") ")
	if err != nil || !ok {
		return ""
	}
	return after[:1]
}

func brokerAway(ctx context.Context, r *run) error {
	r.begins()
	if err := r.broker.kafka.Kill(ctx); err != nil {
		return err
	}
	a, err := r.launch(ctx, "a")
	if err == nil {
		err = awayForAMinute(ctx, r, a)
	}
	if err := errors.Join(err, r.broker.kafka.Restart(ctx)); err != nil {
		return err
	}
	r.heals()
	return r.up(ctx, a)
}

func awayForAMinute(ctx context.Context, r *run, a *bed.Service) error {
	if err := r.says(ctx, a, "kafka is away, waiting for it"); err != nil {
		return err
	}
	if err := pause(ctx, time.Minute); err != nil {
		return err
	}
	if !a.Running() {
		return fmt.Errorf("the relay did not wait: %w", a.Proc.Err())
	}
	if _, ready := a.Ask(ctx, "/readyz"); ready {
		return errors.New("the relay says that it is ready, without a broker")
	}
	r.proves("the relay says that Kafka is away, and is not ready")
	return nil
}

const fakes = 3

func threeFakes(context.Context, *run) (*broker, error) {
	c, err := kfake.NewCluster(kfake.NumBrokers(fakes))
	if err != nil {
		return nil, fmt.Errorf("start kfake: %w", err)
	}
	b := &broker{fake: c, direct: c.ListenAddrs(), seeds: c.ListenAddrs()}
	b.stop = func(context.Context) error { c.Close(); return nil }
	return b, b.open()
}

func leaderMoved(ctx context.Context, r *run) error {
	fake, topic := r.broker.fake, topicOf(r.kind)
	moves := 0
	r.begins()
	for range 10 {
		for p := range int32(partitions) {
			before := fake.LeaderFor(topic, p)
			if err := fake.MoveTopicPartition(topic, p, (before+1+int32(r.rng.IntN(fakes-1)))%fakes); err != nil {
				return fmt.Errorf("move a leader: %w", err)
			}
			if fake.LeaderFor(topic, p) != before {
				moves++
			}
		}
		if err := pause(ctx, time.Duration(100+r.rng.IntN(300))*time.Millisecond); err != nil {
			return err
		}
	}
	r.heals()
	if moves > 0 {
		r.proves("%d moves", moves)
	}
	return nil
}

// smallDisk is a broker on a file system of its own. Mounting needs root.
func smallDisk(ctx context.Context, r *run) (_ *broker, err error) {
	disk := filepath.Join(r.dir, "disk")
	if err := os.MkdirAll(disk, 0o755); err != nil { //nolint:gosec // test data
		return nil, err
	}
	if err := mountTmpfs(disk, "size=192m"); err != nil {
		return nil, err
	}
	unmount := func() error {
		if err := unmountTmpfs(disk); err != nil {
			return err
		}
		return os.Remove(disk)
	}
	b, err := startBroker(ctx, kafkaserver.KafkaConfig{Dir: disk, Properties: map[string]string{
		// The cluster's own log is not what is to fail.
		"metadata.log.dir": filepath.Join(r.dir, "metadata"),
	}}, nil)
	if err != nil {
		return nil, errors.Join(err, unmount())
	}
	stop := b.stop
	b.stop = func(ctx context.Context) error { return errors.Join(stop(ctx), unmount()) }
	return b, nil
}

func diskFull(ctx context.Context, r *run) error {
	k := r.broker.kafka
	filler := filepath.Join(k.Dir(), "filler")
	done := k.Done()
	r.begins()
	if err := fill(filler); err != nil {
		return err
	}
	const proof = "No space left on device"
	err := eventually(ctx, readyTime, func(context.Context) error {
		for _, path := range []string{k.LogFile(), filepath.Join(r.dir, "server.log")} {
			if text, err := os.ReadFile(path); err == nil && strings.Contains(string(text), proof) {
				return nil
			}
		}
		select {
		case <-done: // its last words need room too
			return nil
		default:
			return errors.New("the broker does not mind a full disk")
		}
	})
	if err != nil {
		return errors.Join(err, os.Remove(filler))
	}
	state := "the broker says: " + proof
	select {
	case <-done:
		state = "the broker died of it"
	case <-time.After(2 * time.Second):
	}
	r.proves("no room for a byte; %s", state)
	if err := errors.Join(os.Remove(filler), k.Restart(ctx)); err != nil {
		return err
	}
	r.heals()
	return nil
}

// fill writes a file until there is no room.
func fill(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	for size := 1 << 20; size > 0; {
		_, err := file.Write(make([]byte, size))
		switch {
		case err == nil:
		case errors.Is(err, syscall.ENOSPC) || errors.Is(err, io.ErrShortWrite):
			size /= 16
		default:
			return err
		}
	}
	return nil
}

// topicDeleted deletes a second topic, of which everything was read, and makes it
// again. What is written for it meanwhile is held, and other topics go on.
func topicDeleted(ctx context.Context, r *run) error {
	second := r.kind + ".second"
	topic := topicOf(second)
	if err := r.broker.topic(ctx, topic); err != nil {
		return err
	}
	reader, err := r.read(0, topic)
	if err != nil {
		return err
	}
	r.load.write(r.kind, second)
	err = eventually(ctx, readyTime, func(context.Context) error {
		if n := reader.distinct(); n < 100 {
			return fmt.Errorf("%d records in the second topic", n)
		}
		return nil
	})
	r.load.write(r.kind)
	if err == nil {
		err = r.settled(ctx, second, reader)
	}
	if err == nil {
		err = reader.atEnd(ctx)
	}
	if err != nil {
		return err
	}
	reader.close()
	reader.ended = true

	r.begins()
	if err := r.deleteTopic(ctx, topic); err != nil {
		return err
	}
	r.load.write(r.kind, second)
	a := r.relay("a")
	err = r.until(ctx, a, 20*time.Second, "holding for the missing topic", func(ctx context.Context) bool {
		n, err := metric(ctx, a, "gapless_relay_held_records")
		return err == nil && n > 0
	})
	if err != nil {
		return err
	}
	if err := errors.Join(pause(ctx, 5*time.Second), r.flows(ctx, 50)); err != nil { // the other topic's
		return err
	}
	held, err := metric(ctx, a, "gapless_relay_held_records")
	if err != nil {
		return err
	}
	if held > 0 {
		r.proves("%.0f rows held for the missing topic", held)
	}
	if err := r.broker.topic(ctx, topic); err != nil {
		return err
	}
	r.heals()
	_, err = r.read(1, topic)
	return err
}

// settled waits until all rows of a type are in its topic.
func (r *run) settled(ctx context.Context, kind string, reader *reader) error {
	return eventually(ctx, drainTime, func(ctx context.Context) error {
		var n int
		if err := r.db.QueryRow(ctx, "SELECT count(*) FROM gapless.outbox WHERE aggregatetype = $1", kind).Scan(&n); err != nil {
			return err
		}
		if have := reader.distinct(); have < n {
			return fmt.Errorf("%d of %d rows are in %s", have, n, topicOf(kind))
		}
		return nil
	})
}

func (r *run) deleteTopic(ctx context.Context, topic string) error {
	answers, err := r.broker.admin.DeleteTopics(ctx, topic)
	if err := errors.Join(err, answers.Error()); err != nil {
		return fmt.Errorf("delete topic %s: %w", topic, err)
	}
	return eventually(ctx, readyTime, func(ctx context.Context) error {
		var found kadm.TopicDetails
		found, err := r.broker.admin.ListTopics(ctx)
		if err == nil && found.Has(topic) {
			err = fmt.Errorf("topic %s is still there", topic)
		}
		return err
	})
}
