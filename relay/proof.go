package relay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/relay/core"
	"github.com/gapless/gapless/sql"
)

// proof: once the relay has passed LSN, every row visible in Snapshot was
// relayed; while the system, its timeline and the publication are the same.
type proof struct {
	SystemID    string    `json:"system_id"`
	Timeline    int32     `json:"timeline"`
	Snapshot    string    `json:"snapshot"`
	LSN         string    `json:"lsn"`
	Fingerprint string    `json:"fingerprint"`
	At          time.Time `json:"at"`
}

// maxProofs bounds the ring. Older ones matter after a failover: a proof taken
// after the switch point says nothing there.
const maxProofs = 16

func (s *store) prove(ctx context.Context, system string, timeline int32, now time.Time) (proof, error) {
	p := proof{SystemID: system, Timeline: timeline, At: now.UTC()}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	// The fingerprint is read before and after: a publication changed between
	// would otherwise be vouched for.
	var err error
	if p.Fingerprint, err = s.fingerprint(ctx); err != nil {
		return p, err
	}
	if err := s.pool.QueryRow(ctx, sql.RelayProof).Scan(&p.Snapshot, &p.LSN); err != nil {
		return p, fmt.Errorf("take proof: %w", err)
	}
	after, err := s.fingerprint(ctx)
	if err != nil {
		return p, err
	}
	if after != p.Fingerprint {
		return p, errors.New("publication changed while a proof was taken")
	}
	return p, nil
}

// fingerprint is the publication's identity at this moment.
func (s *store) fingerprint(ctx context.Context) (text string, err error) {
	if err := s.pool.QueryRow(ctx, sql.RelayFingerprint, s.publication).Scan(&text); err != nil {
		return "", fmt.Errorf("fingerprint publication: %w", err)
	}
	return text, nil
}

// addProof appends p and forgets the oldest beyond the bound.
func addProof(ring []proof, p proof) []proof {
	grown := append(append([]proof(nil), ring...), p)
	return grown[max(0, len(grown)-maxProofs):]
}

// newest returns the last proof that the position has passed and that holds
// for this system, timeline and publication.
func newest(ring []proof, resume core.LSN, system string, timeline int32, fingerprint string) (proof, bool) {
	for i := len(ring) - 1; i >= 0; i-- {
		p := ring[i]
		lsn, err := core.ParseLSN(p.LSN)
		if err == nil && lsn <= resume && p.SystemID == system && p.Timeline == timeline && p.Fingerprint == fingerprint {
			return p, true
		}
	}
	return proof{}, false
}

// on puts the quoted name of a published table in the place of gapless.outbox.
func on(statement, table string) string {
	schema, name, _ := strings.Cut(table, ".")
	return strings.ReplaceAll(statement, "gapless.outbox", pgx.Identifier{schema, name}.Sanitize())
}
