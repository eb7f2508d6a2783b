package format

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// rowHeaders appends the members of a JSON object of strings to b.Headers, in
// the order of the text. names interns the header names.
func rowHeaders(text []byte, names *names, b *Buffer) error {
	p := parser{rest: text}
	p.space()
	if !p.skip('{') {
		return fault(BadHeader, "headers are not an object")
	}
	p.space()
	if p.skip('}') {
		return p.end()
	}
	for {
		p.space()
		name, err := p.str()
		if err != nil {
			return err
		}
		p.space()
		if !p.skip(':') {
			return fault(BadHeader, "headers are not valid JSON")
		}
		p.space()
		value, err := p.str()
		if err != nil {
			return err
		}
		if len(name) == 0 {
			return fault(BadHeader, "a header has no name")
		}
		if bytes.IndexByte(name, 0) >= 0 {
			return fault(BadHeader, "a header's name holds a NUL")
		}
		b.Header(names.of(name), b.Copy(nonNil(value)))
		p.space()
		if p.skip('}') {
			return p.end()
		}
		if !p.skip(',') {
			return fault(BadHeader, "headers are not valid JSON")
		}
	}
}

type parser struct{ rest []byte }

func (p *parser) space() {
	for len(p.rest) > 0 && (p.rest[0] == ' ' || p.rest[0] == '\n' || p.rest[0] == '\t' || p.rest[0] == '\r') {
		p.rest = p.rest[1:]
	}
}

func (p *parser) skip(c byte) bool {
	if len(p.rest) == 0 || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

func (p *parser) end() error {
	p.space()
	if len(p.rest) > 0 {
		return fault(BadHeader, "headers are not valid JSON")
	}
	return nil
}

// str reads a string. Without an escape, the usual case, it is a view.
func (p *parser) str() ([]byte, error) {
	if len(p.rest) == 0 || p.rest[0] != '"' {
		return nil, fault(BadHeader, "a header's name or value is not a string")
	}
	end, escaped := 1, false
	for end < len(p.rest) && p.rest[end] != '"' {
		if p.rest[end] < ' ' {
			return nil, fault(BadHeader, "headers are not valid JSON")
		}
		if p.rest[end] == '\\' {
			escaped = true
			end++
		}
		end++
	}
	if end >= len(p.rest) {
		return nil, fault(BadHeader, "headers are not valid JSON")
	}
	token := p.rest[:end+1]
	p.rest = p.rest[end+1:]
	if !escaped {
		if !utf8.Valid(token) {
			return nil, fault(BadHeader, "headers are not valid UTF-8")
		}
		return token[1:end], nil
	}
	var s string
	if err := json.Unmarshal(token, &s); err != nil {
		return nil, fault(BadHeader, "headers are not valid JSON")
	}
	return []byte(s), nil
}

// sortHeaders sorts by name, keeping the first of equal names: the computed
// headers are put first and win. Insertion sort: a dozen, nearly sorted.
func sortHeaders(h []Header) []Header {
	n := 0
next:
	for i := range h {
		cur := h[i]
		at := n
		for at > 0 && h[at-1].Key >= cur.Key {
			if h[at-1].Key == cur.Key {
				continue next
			}
			at--
		}
		copy(h[at+1:n+1], h[at:n])
		h[at] = cur
		n++
	}
	return h[:n]
}

// PairHeaders appends the headers of an ordered array of [name, base64 or null], which is
// their form in gapless.parked and gapless.dead_letter. Its error is a *Fault.
func PairHeaders(text []byte, b *Buffer) error {
	var pairs [][]*string
	d := json.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&pairs); err != nil {
		return fault(BadHeader, "headers are not an array of [name, base64 or null]")
	}
	for _, pair := range pairs {
		if len(pair) != 2 || pair[0] == nil {
			return fault(BadHeader, "headers are not an array of [name, base64 or null]")
		}
		if pair[1] == nil {
			b.Header(*pair[0], nil)
			continue
		}
		value, err := base64Bytes(*pair[1])
		if err != nil {
			return fault(BadHeader, "a header's value is not base64")
		}
		b.Header(*pair[0], value)
	}
	return nil
}
