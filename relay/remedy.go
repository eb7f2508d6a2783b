package relay

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/sql"
)

// Statements that a person runs, for a remedy. The order matters: what is
// written again must come after the slot, and finds by the record what to write.

func makeSlotSQL(slot string) string {
	return "SELECT pg_create_logical_replication_slot(" + literal(slot) + ", 'pgoutput')"
}

func dropSlotSQL(slot string) string {
	return "SELECT pg_drop_replication_slot(" + literal(slot) + ")"
}

func makePublicationSQL(publication string, tables ...string) string {
	return "CREATE PUBLICATION " + quoted(publication) +
		" FOR TABLE " + sanitized(tables) + " WITH (publish = 'insert', publish_via_partition_root = true)"
}

func quoted(name string) string { return pgx.Identifier{name}.Sanitize() }

// literal quotes a value for a statement that a person runs.
func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// sanitized lists tables as SQL names them.
func sanitized(tables []string) string {
	var list []string
	for _, t := range tables {
		list = append(list, on("gapless.outbox", t))
	}
	return strings.Join(list, ", ")
}

var (
	comment = regexp.MustCompile(`(?m)^--.*\n`)
	space   = regexp.MustCompile(`\s+`)
)

// resendSQL writes again what the relay may not have sent.
func resendSQL(slot string) string { return oneLine(sql.RelayResend, slot) }

// followSQL lets the record begin where the slot is.
func followSQL(slot string) string { return oneLine(sql.RelayFollowSlot, slot) }

// forgetProofsSQL has the next start trust the publication as it is.
func forgetProofsSQL(slot string) string {
	return "UPDATE gapless.relay_progress SET proofs = '[]' WHERE slot = " + literal(slot)
}

// forgetMembershipSQL has the next start not miss what was taken out of the publication.
func forgetMembershipSQL(slot string, memberships []string) string {
	text := "proofs::text"
	for _, m := range memberships {
		text = fmt.Sprintf("replace(%s, %s, '')", text, literal(","+m)) // none is the first in a fingerprint
	}
	return fmt.Sprintf("UPDATE gapless.relay_progress SET proofs = (%s)::jsonb WHERE slot = %s", text, literal(slot))
}

// inItsStead introduces a statement in words, the other way out.
const inItsStead = "run in its stead: "

func oneLine(statement, slot string) string {
	text := space.ReplaceAllString(comment.ReplaceAllString(statement, ""), " ")
	return strings.ReplaceAll(strings.TrimSpace(text), "'gapless'", literal(slot))
}

// byHand introduces statements that write rows of gapless.outbox again.
const byHand = "Stop whatever writes to the outbox, run the statements (other published tables need the like of them)," +
	" then start the relay; events that were sent already come again with the same id."
