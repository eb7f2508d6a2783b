// Package terminal has what text for people needs: numbers of things with their names, and
// what somebody else wrote (a row, a header, a name, a server's words) kept from steering
// the terminal of the person who reads it.
package terminal

import (
	"fmt"
	"strings"
	"unicode"
)

// Line is s on one line: with a space in place of each control character, such as those
// that begin an escape sequence, and of each that is not seen, such as those that turn the
// direction of text or, to some, end the line.
func Line(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) {
			return ' '
		}
		return r
	}, s)
}

// Lines is Line for each line of s.
func Lines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = Line(lines[i])
	}
	return strings.Join(lines, "\n")
}

// Count is a number of things with their name: "1 row", "2 rows".
func Count[N int | int64](n N, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
