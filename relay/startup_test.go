package relay

import (
	"errors"
	"testing"
	"time"

	"github.com/gapless/gapless/relay/core"
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
		refused bool
	}{
		"same":                              {record, replication.System{ID: "7", Timeline: 2, Flushed: 100}, 0, false},
		"another system":                    {record, replication.System{ID: "8", Timeline: 2, Flushed: 100}, 0, true},
		"server went back":                  {record, replication.System{ID: "7", Timeline: 2, Flushed: 99}, 0, true},
		"older timeline":                    {record, replication.System{ID: "7", Timeline: 1, Flushed: 500}, 0, true},
		"promoted after the record":         {record, replication.System{ID: "7", Timeline: 3, Flushed: 500}, 100, false},
		"promoted before the record":        {record, replication.System{ID: "7", Timeline: 3, Flushed: 500}, 99, true},
		"promoted within a part":            {partial, replication.System{ID: "7", Timeline: 3, Flushed: 500}, 110, true},
		"promoted at the partial commit":    {partial, replication.System{ID: "7", Timeline: 3, Flushed: 500}, 120, true},
		"promoted after the partial commit": {partial, replication.System{ID: "7", Timeline: 3, Flushed: 500}, 121, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := refuseIdentity("s", c.record, c.server, func() (core.LSN, error) {
				if c.server.Timeline == c.record.Timeline {
					t.Error("history was asked for without need")
				}
				return c.at, nil
			})
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
