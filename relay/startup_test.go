package relay

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/gapless/gapless/relay/core"
	"github.com/gapless/gapless/relay/kafkastate"
	"github.com/gapless/gapless/relay/replication"
)

// After a promotion the record decides: what the new primary does not have was
// relayed from a history that is gone.
func TestIdentity(t *testing.T) {
	t.Parallel()
	record := progress{SystemID: "7", Timeline: 2, position: core.Position{Resume: 100}}
	partial := record
	partial.position.PartialCommit = 120
	for name, c := range map[string]struct {
		record  progress
		server  replication.System
		at      core.LSN
		unknown error
		refused bool
	}{
		"same":                              {record, replication.System{ID: "7", Timeline: 2, Flushed: 100}, 0, nil, false},
		"another system":                    {record, replication.System{ID: "8", Timeline: 2, Flushed: 100}, 0, nil, true},
		"server went back":                  {record, replication.System{ID: "7", Timeline: 2, Flushed: 99}, 0, nil, true},
		"older timeline":                    {record, replication.System{ID: "7", Timeline: 1, Flushed: 500}, 0, nil, true},
		"promoted after the record":         {record, replication.System{ID: "7", Timeline: 3, Flushed: 500}, 100, nil, false},
		"promoted before the record":        {record, replication.System{ID: "7", Timeline: 3, Flushed: 500}, 99, nil, true},
		"promoted within a part":            {partial, replication.System{ID: "7", Timeline: 3, Flushed: 500}, 110, nil, true},
		"promoted at the partial commit":    {partial, replication.System{ID: "7", Timeline: 3, Flushed: 500}, 120, nil, true},
		"promoted after the partial commit": {partial, replication.System{ID: "7", Timeline: 3, Flushed: 500}, 121, nil, false},
		"promoted beside the record":        {record, replication.System{ID: "7", Timeline: 3, Flushed: 500}, 0, nil, true},
		"promoted, and nobody knows where":  {record, replication.System{ID: "7", Timeline: 3, Flushed: 500}, 100, errors.New("no file"), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			on := lineage{timeline: c.server.Timeline, left: map[int32]core.LSN{1: 50, 2: c.at}, unknown: c.unknown}
			if c.at == 0 {
				delete(on.left, 2)
			}
			err := refuseIdentity("s", c.record, c.server, on)
			if c.unknown != nil && !errors.Is(err, c.unknown) {
				t.Errorf("error %v, want %v", err, c.unknown)
			}
			var r *Refusal
			if errors.As(err, &r) != c.refused {
				t.Errorf("error %v, want refused %v", err, c.refused)
			}
		})
	}
}

// A proof vouches for nothing beyond its own history.
func TestNewestProof(t *testing.T) {
	t.Parallel()
	good := proof{SystemID: "7", Timeline: 2, Fingerprint: "f", LSN: "0/64", Snapshot: "good"}
	later, timeline, system, publication := good, good, good, good
	later.LSN, timeline.Timeline, system.SystemID, publication.Fingerprint = "0/65", 1, "8", "g"
	if p, ok := newest([]proof{good, later, timeline, system, publication}, 0x64, "7", 2, "f"); !ok || p.Snapshot != "good" {
		t.Errorf("%+v, %v", p, ok)
	}
	if p, ok := newest([]proof{later, timeline, system, publication}, 0x64, "7", 2, "f"); ok {
		t.Errorf("%+v vouches", p)
	}
	var ring []proof
	for range 3 * maxProofs {
		ring = addProof(ring, good)
	}
	if len(ring) != maxProofs {
		t.Errorf("%d proofs are kept", len(ring))
	}
}

// What was parked on a timeline before the server left it is known by its place, and nothing
// that was parked there later.
func TestPlacesOfEarlierTimelines(t *testing.T) {
	t.Parallel()
	at := func(timeline int32, commit uint64, index int64) kafkastate.Place {
		return kafkastate.Place{System: "7", Timeline: timeline, Commit: commit, Index: index}
	}
	on := lineage{system: "7", timeline: 4, left: map[int32]core.LSN{1: 115, 2: 130}}
	places := []kafkastate.Place{at(1, 110, 0), at(1, 115, 0), at(1, 120, 0), at(2, 129, 1), at(3, 100, 0), at(4, 900, 2), {System: "8", Timeline: 4, Commit: 950}}
	got, err := on.has(places)
	if want := []core.Point{{Commit: 110}, {Commit: 129, Index: 1}, {Commit: 900, Index: 2}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	on.left, on.unknown = nil, errors.New("gone")
	if _, err := on.has(places); !errors.Is(err, on.unknown) {
		t.Error(err)
	}
	if got, err := on.has([]kafkastate.Place{at(4, 900, 2)}); err != nil || len(got) != 1 {
		t.Errorf("of the server's own timeline %v, %v", got, err)
	}
}

// During a switchover the old primary answers as a standby.
func TestStandbyIsRefusedOnlyAtTheFirstStart(t *testing.T) {
	t.Parallel()
	r := &Relay{}
	var refusal *Refusal
	if err := r.refuseStandby(server{InRecovery: true}); !errors.As(err, &refusal) {
		t.Errorf("first start: %v, want a refusal", err)
	}
	if err := r.refuseStandby(server{}); err != nil {
		t.Errorf("primary: %v", err)
	}
	if err := r.refuseStandby(server{InRecovery: true}); err == nil || errors.As(err, &refusal) {
		t.Errorf("after a primary: %v, want an error that is waited out", err)
	}
}

func TestConnectTimeout(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]time.Duration{
		"postgres://u@127.0.0.1:1/d":                   10 * time.Second,
		"postgres://u@127.0.0.1:1/d?connect_timeout=3": 3 * time.Second,
	} {
		s, err := openStore(t.Context(), Config{DatabaseURL: url, Slot: "s"})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.pool.Config().ConnConfig.ConnectTimeout; got != want {
			t.Errorf("%s: %s, want %s", url, got, want)
		}
		s.close()
	}
}
