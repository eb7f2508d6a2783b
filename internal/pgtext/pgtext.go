// Package pgtext makes text fit for Postgres.
package pgtext

import (
	"strings"
	"unicode/utf8"
)

// Clean returns s with U+FFFD in place of what neither a text nor a jsonb of Postgres
// holds: NUL, and bytes that are no UTF-8. What is broken must still be kept.
func Clean(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
