package core

import (
	"fmt"
	"strconv"
	"strings"
)

// LSN is a byte position in the write-ahead log of one timeline.
type LSN uint64

// String formats the LSN as Postgres does: two hexadecimal halves, 0/16B3748.
func (l LSN) String() string {
	var b [17]byte
	return string(l.Append(b[:0]))
}

// MarshalText is the form of String: what JSON and logs show.
func (l LSN) MarshalText() ([]byte, error) { return l.Append(nil), nil }

// UnmarshalText is ParseLSN.
func (l *LSN) UnmarshalText(text []byte) (err error) {
	*l, err = ParseLSN(string(text))
	return err
}

// Append appends the form of String to b.
func (l LSN) Append(b []byte) []byte {
	b = appendUpperHex(b, uint32(l>>32))
	b = append(b, '/')
	return appendUpperHex(b, uint32(l))
}

func appendUpperHex(b []byte, n uint32) []byte {
	start := len(b)
	b = strconv.AppendUint(b, uint64(n), 16)
	for i := start; i < len(b); i++ {
		if b[i] >= 'a' {
			b[i] -= 'a' - 'A'
		}
	}
	return b
}

// ParseLSN reads the form that String writes, in either case.
func ParseLSN(s string) (LSN, error) {
	high, low, ok := strings.Cut(s, "/")
	if !ok {
		return 0, fmt.Errorf("parse LSN %q: no slash", s)
	}
	h, err := parseHalf(high)
	if err != nil {
		return 0, fmt.Errorf("parse LSN %q: %w", s, err)
	}
	l, err := parseHalf(low)
	if err != nil {
		return 0, fmt.Errorf("parse LSN %q: %w", s, err)
	}
	return LSN(h<<32 | l), nil
}

func parseHalf(s string) (uint64, error) {
	if s == "" || len(s) > 8 {
		return 0, fmt.Errorf("half %q is not 1 to 8 hexadecimal digits", s)
	}
	n, err := strconv.ParseUint(s, 16, 32)
	if err != nil {
		return 0, fmt.Errorf("half %q is not 1 to 8 hexadecimal digits", s)
	}
	return n, nil
}
