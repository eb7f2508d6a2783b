package api

import (
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	maxKeyLength = 255
	maxWait      = 30 * time.Second
)

// parseIdempotencyKey reads the header in both of its forms: a quoted string,
// as the IETF draft says (RFC 8941, section 3.3.3), and bare, as most clients
// send it.
func parseIdempotencyKey(value string) (string, error) {
	key := strings.Trim(value, " \t")
	if strings.HasPrefix(key, `"`) {
		var ok bool
		if key, ok = unquote(key); !ok {
			return "", problemf(kindKeyMalformed, "the key begins with a quote and is not a quoted string")
		}
	}
	switch {
	case key == "":
		return "", problemf(kindKeyMalformed, "the key is empty")
	case len(key) > maxKeyLength:
		return "", problemf(kindKeyMalformed, "the key has %d characters, at most %d are allowed", len(key), maxKeyLength)
	}
	for i := range len(key) {
		if key[i] < ' ' || key[i] > '~' {
			return "", problemf(kindKeyMalformed, "the key has a character that is not printable ASCII")
		}
	}
	return key, nil
}

func unquote(s string) (string, bool) {
	if len(s) < 2 || s[len(s)-1] != '"' {
		return "", false
	}
	s = s[1 : len(s)-1]
	if !strings.ContainsAny(s, `\"`) {
		return s, true
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			return "", false
		case '\\':
			if i++; i == len(s) || s[i] != '"' && s[i] != '\\' {
				return "", false
			}
		}
		b.WriteByte(s[i])
	}
	return b.String(), true
}

// parsePreferWait reads wait=N of RFC 7240. A preference that cannot be read is
// not honoured, which is what the RFC asks for.
func parsePreferWait(value *string) time.Duration {
	if value == nil {
		return 0
	}
	for part := range strings.SplitSeq(*value, ",") {
		part, _, _ = strings.Cut(part, ";")
		name, number, _ := strings.Cut(part, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "wait") {
			continue
		}
		seconds, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(number), `"`), 10, 31)
		if err != nil {
			return 0
		}
		return min(time.Duration(seconds)*time.Second, maxWait)
	}
	return 0
}

// parseBearer returns the token of an Authorization header.
func parseBearer(value string) (string, bool) {
	scheme, key, ok := strings.Cut(value, " ")
	key = strings.TrimSpace(key)
	return key, ok && strings.EqualFold(scheme, "Bearer") && key != ""
}

// printable reports whether Postgres takes the text: valid UTF-8 without NUL,
// and nothing that would not be written by a person.
func printable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}
