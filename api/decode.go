package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDepth is far beyond what an order has and far below what a stack minds.
const maxDepth = 16

// node is a JSON value as it was written. encoding/json alone would take the
// last of two equal keys, put U+FFFD for broken text and ignore what follows.
type node struct {
	kind   byte // one of {["n#tf
	text   string
	fields map[string]node
	names  []string // of fields, as they came
	items  []node
}

const (
	isObject = '{'
	isArray  = '['
	isString = '"'
	isNumber = '#'
	isTrue   = 't'
	isFalse  = 'f'
	isNull   = 'n'
)

func (n node) kindName() string {
	switch n.kind {
	case isObject:
		return "an object"
	case isArray:
		return "an array"
	case isString:
		return "a string"
	case isNumber:
		return "a number"
	case isNull:
		return "null"
	}
	return "a boolean"
}

// parseJSON reads exactly one value. Errors are problems of kind malformed.
func parseJSON(body []byte) (node, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return node{}, problemf(kindMalformed, "the body is empty")
	}
	if !utf8.Valid(body) {
		return node{}, problemf(kindMalformed, "the body is not valid UTF-8 at byte %d", invalidAt(body))
	}
	// The token reader below is laxer than the grammar; this is not, and it finds
	// trailing data.
	var whole json.RawMessage
	if err := json.Unmarshal(body, &whole); err != nil {
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			return node{}, problemf(kindMalformed, "the body is not JSON at byte %d: %s", syntax.Offset, syntax)
		}
		return node{}, problemf(kindMalformed, "the body is not JSON")
	}
	if at := loneSurrogate(body); at >= 0 {
		return node{}, problemf(kindMalformed, "the body has half a surrogate pair at byte %d", at)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	return parseValue(d, "", 0)
}

func parseValue(d *json.Decoder, pointer string, depth int) (node, error) {
	token, err := d.Token()
	if err != nil {
		return node{}, problemf(kindMalformed, "the body is not JSON: %v", err)
	}
	switch token := token.(type) {
	case nil:
		return node{kind: isNull}, nil
	case bool:
		if token {
			return node{kind: isTrue}, nil
		}
		return node{kind: isFalse}, nil
	case string:
		return node{kind: isString, text: token}, nil
	case json.Number:
		return node{kind: isNumber, text: token.String()}, nil
	case json.Delim:
		if depth == maxDepth {
			return node{}, malformedAt(pointer, "too_deep", fmt.Sprintf("more than %d levels deep", maxDepth))
		}
		if token == '[' {
			return parseArray(d, pointer, depth)
		}
		return parseObject(d, pointer, depth)
	}
	return node{}, problemf(kindMalformed, "the body is not JSON")
}

func parseArray(d *json.Decoder, pointer string, depth int) (node, error) {
	n := node{kind: isArray}
	for d.More() {
		item, err := parseValue(d, pointer+"/"+strconv.Itoa(len(n.items)), depth+1)
		if err != nil {
			return node{}, err
		}
		n.items = append(n.items, item)
	}
	_, err := d.Token()
	return n, err
}

func parseObject(d *json.Decoder, pointer string, depth int) (node, error) {
	n := node{kind: isObject, fields: make(map[string]node)}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return node{}, problemf(kindMalformed, "the body is not JSON: %v", err)
		}
		name, _ := token.(string)
		at := pointer + "/" + escapePointer(name)
		if _, twice := n.fields[name]; twice {
			return node{}, malformedAt(at, "duplicate_key", "the key is there twice")
		}
		if n.fields[name], err = parseValue(d, at, depth+1); err != nil {
			return node{}, err
		}
		n.names = append(n.names, name)
	}
	_, err := d.Token()
	return n, err
}

func malformedAt(pointer, code, detail string) *problem {
	return &problem{kind: kindMalformed, detail: detail, faults: []ProblemError{{Pointer: pointer, Code: code, Detail: detail}}}
}

// escapePointer is RFC 6901, section 3. A name is cut: it is echoed.
func escapePointer(name string) string {
	if len(name) > 64 {
		name = strings.ToValidUTF8(name[:64], "") + "…"
	}
	return pointerEscaper.Replace(name)
}

var pointerEscaper = strings.NewReplacer("~", "~0", "/", "~1")

func invalidAt(body []byte) int {
	for i := 0; i < len(body); {
		r, size := utf8.DecodeRune(body[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return len(body)
}

// loneSurrogate finds an escaped half of a surrogate pair, or returns -1. body
// is valid JSON, so that every backslash is inside a string and every \u has
// four digits.
func loneSurrogate(body []byte) int {
	for i := 0; i < len(body); i++ {
		if body[i] != '\\' {
			continue
		}
		start := i
		i++
		if body[i] != 'u' {
			continue
		}
		first := hex4(body[i+1:])
		i += 4
		switch {
		case first >= 0xDC00 && first <= 0xDFFF:
			return start
		case first >= 0xD800 && first <= 0xDBFF:
			rest := body[i+1:]
			if len(rest) < 6 || rest[0] != '\\' || rest[1] != 'u' {
				return start
			}
			if second := hex4(rest[2:]); second < 0xDC00 || second > 0xDFFF {
				return start
			}
			i += 6
		}
	}
	return -1
}

func hex4(b []byte) uint64 {
	v, _ := strconv.ParseUint(string(b[:4]), 16, 32) // four hex digits, or zero
	return v
}
