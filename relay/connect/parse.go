package connect

import (
	"errors"
	"strconv"
	"unicode/utf8"
)

// errSyntax is text that Jackson does not take.
var errSyntax = errors.New("not JSON")

// Jackson's own limits (StreamReadConstraints).
const (
	maxDepth  = 1000
	maxNumber = 1000
	maxText   = 20_000_000
	maxName   = 50_000
)

// maxValues bounds the memory that a text takes while it is expanded, to some tens of MiB.
const maxValues = 1 << 18

// ErrTooLarge is text of more than 262,144 values, or whose objects have so many fields
// that only some of them have that it would take seconds, or gigabytes, to expand.
var ErrTooLarge = errors.New("JSON of too many values to expand")

type nodeKind uint8

const (
	nullNode nodeKind = iota
	boolNode
	intNode    // of 32 bits
	longNode   // of 64 bits
	bigNode    // of more
	doubleNode // with a point or an exponent
	stringNode
	arrayNode
	objectNode
)

// node is a value of the text. Children and siblings are indices; 0 is none.
type node struct {
	kind  nodeKind
	child int32
	last  int32
	next  int32
	name  []byte  // in an object
	text  []byte  // of a string: what it means; half a surrogate pair is in it as three bytes
	num   int64   // of an integer or a boolean
	float float64 // of a double
}

// parser reads one value as Jackson's readTree does; what follows it is not looked at.
type parser struct {
	rest  []byte
	depth int
	nodes []node
	text  []byte // of strings with escapes
}

func (p *parser) parse(text []byte) error {
	p.rest, p.depth, p.text = text, 0, p.text[:0]
	p.nodes = append(p.nodes[:0], node{}) // 0 is none
	_, err := p.value(nil)
	return err
}

func (p *parser) space() byte {
	for len(p.rest) > 0 {
		switch c := p.rest[0]; c {
		case ' ', '\n', '\t', '\r':
			p.rest = p.rest[1:]
		default:
			return c
		}
	}
	return 0
}

func (p *parser) literal(word string) bool {
	if len(p.rest) < len(word) || string(p.rest[:len(word)]) != word {
		return false
	}
	p.rest = p.rest[len(word):]
	// Jackson wants the word to end here.
	return len(p.rest) == 0 || !wordByte(p.rest[0])
}

func wordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '$' || c >= utf8.RuneSelf
}

func (p *parser) value(name []byte) (int32, error) {
	at := int32(len(p.nodes))
	if at > maxValues {
		return 0, ErrTooLarge
	}
	p.nodes = append(p.nodes, node{name: name})
	switch c := p.space(); {
	case c == '{' || c == '[':
		if p.depth++; p.depth > maxDepth {
			return 0, errSyntax
		}
		p.rest = p.rest[1:]
		var err error
		if c == '{' {
			err = p.object(at)
		} else {
			err = p.array(at)
		}
		p.depth--
		return at, err
	case c == '"':
		text, err := p.str(maxText)
		p.nodes[at].kind, p.nodes[at].text = stringNode, text
		return at, err
	case c == 't' && p.literal("true"):
		p.nodes[at].kind, p.nodes[at].num = boolNode, 1
	case c == 'f' && p.literal("false"):
		p.nodes[at].kind = boolNode
	case c == 'n' && p.literal("null"):
	case c == '-' || c >= '0' && c <= '9':
		return at, p.number(&p.nodes[at])
	default:
		return 0, errSyntax
	}
	return at, nil
}

func (p *parser) add(parent, child int32) {
	o := &p.nodes[parent]
	if o.last == 0 {
		o.child = child
	} else {
		p.nodes[o.last].next = child
	}
	o.last = child
}

// more takes the comma before another element, or what closes the last.
func (p *parser) more(closing byte) (bool, error) {
	c := p.space()
	if c != ',' && c != closing {
		return false, errSyntax
	}
	p.rest = p.rest[1:]
	return c == ',', nil
}

func (p *parser) array(at int32) error {
	p.nodes[at].kind = arrayNode
	if p.space() == ']' {
		p.rest = p.rest[1:]
		return nil
	}
	for {
		child, err := p.value(nil)
		if err != nil {
			return err
		}
		p.add(at, child)
		if more, err := p.more(']'); !more {
			return err
		}
	}
}

// fewNames is how many names are compared one by one to find a repeated one.
const fewNames = 24

func (p *parser) object(at int32) error {
	p.nodes[at].kind = objectNode
	if p.space() == '}' {
		p.rest = p.rest[1:]
		return nil
	}
	var many map[string]int32
	for n := 0; ; n++ {
		if p.space() != '"' {
			return errSyntax
		}
		name, err := p.str(maxName)
		if err != nil {
			return err
		}
		if p.space() != ':' {
			return errSyntax
		}
		p.rest = p.rest[1:]
		child, err := p.value(name)
		if err != nil {
			return err
		}
		if n == fewNames {
			many = make(map[string]int32, 4*fewNames)
			for c := p.nodes[at].child; c != 0; c = p.nodes[c].next {
				many[string(p.nodes[c].name)] = c
			}
		}
		// The last of a name wins, in the place of the first.
		if earlier := p.find(at, name, many); earlier != 0 {
			next := p.nodes[earlier].next
			p.nodes[earlier] = p.nodes[child]
			p.nodes[earlier].next = next
		} else {
			p.add(at, child)
			if many != nil {
				many[string(name)] = child
			}
		}
		if more, err := p.more('}'); !more {
			return err
		}
	}
}

func (p *parser) find(at int32, name []byte, many map[string]int32) int32 {
	if many != nil {
		return many[string(name)]
	}
	return p.member(at, name)
}

// member of an object; 0 when it has none of that name.
func (p *parser) member(at int32, name []byte) int32 {
	for c := p.nodes[at].child; c != 0; c = p.nodes[c].next {
		if string(p.nodes[c].name) == string(name) {
			return c
		}
	}
	return 0
}

func (p *parser) str(limit int) ([]byte, error) {
	for i := 1; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == '"':
			s := p.rest[1:i:i]
			p.rest = p.rest[i+1:]
			if len(s) > limit {
				return nil, errSyntax
			}
			return s, nil
		case c == '\\':
			return p.escaped(i, limit)
		case c < ' ':
			return nil, errSyntax
		}
	}
	return nil, errSyntax
}

// escaped reads a string whose first escape is at i.
func (p *parser) escaped(i, limit int) ([]byte, error) {
	start := len(p.text)
	p.text = append(p.text, p.rest[1:i]...)
	for i < len(p.rest) {
		switch c := p.rest[i]; {
		case c == '"':
			p.rest = p.rest[i+1:]
			if len(p.text)-start > limit {
				return nil, errSyntax
			}
			return p.text[start:len(p.text):len(p.text)], nil
		case c < ' ':
			return nil, errSyntax
		case c != '\\':
			p.text = append(p.text, c)
			i++
			continue
		}
		if i+1 >= len(p.rest) {
			return nil, errSyntax
		}
		c := p.rest[i+1]
		i += 2
		switch c {
		case '"', '\\', '/':
			p.text = append(p.text, c)
		case 'b':
			p.text = append(p.text, '\b')
		case 'f':
			p.text = append(p.text, '\f')
		case 'n':
			p.text = append(p.text, '\n')
		case 'r':
			p.text = append(p.text, '\r')
		case 't':
			p.text = append(p.text, '\t')
		case 'u':
			unit, ok := hex4(p.rest[i:])
			if !ok {
				return nil, errSyntax
			}
			i += 4
			if unit >= 0xd800 && unit < 0xdc00 && i+6 <= len(p.rest) && p.rest[i] == '\\' && p.rest[i+1] == 'u' {
				if low, ok := hex4(p.rest[i+2:]); ok && low >= 0xdc00 && low < 0xe000 {
					unit = 0x10000 + (unit-0xd800)<<10 + (low - 0xdc00)
					i += 6
				}
			}
			if unit >= 0xd800 && unit < 0xe000 { // which utf8 would replace
				p.text = append(p.text, 0xe0|byte(unit>>12), 0x80|byte(unit>>6)&0x3f, 0x80|byte(unit)&0x3f)
			} else {
				p.text = utf8.AppendRune(p.text, unit)
			}
		default:
			return nil, errSyntax
		}
	}
	return nil, errSyntax
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(b[:4]), 16, 16)
	return rune(n), err == nil && b[0] != '+' && b[0] != '_'
}

func (p *parser) number(n *node) error {
	i := 0
	digits := func() int {
		from := i
		for i < len(p.rest) && p.rest[i] >= '0' && p.rest[i] <= '9' {
			i++
		}
		return i - from
	}
	if p.rest[0] == '-' {
		i++
	}
	first := i
	if whole := digits(); whole == 0 || whole > 1 && p.rest[first] == '0' {
		return errSyntax
	}
	n.kind = intNode
	if i < len(p.rest) && p.rest[i] == '.' {
		i++
		if digits() == 0 {
			return errSyntax
		}
		n.kind = doubleNode
	}
	if i < len(p.rest) && (p.rest[i] == 'e' || p.rest[i] == 'E') {
		i++
		if i < len(p.rest) && (p.rest[i] == '+' || p.rest[i] == '-') {
			i++
		}
		if digits() == 0 {
			return errSyntax
		}
		n.kind = doubleNode
	}
	if i > maxNumber {
		return errSyntax
	}
	text := p.rest[:i]
	p.rest = p.rest[i:]
	var err error
	if n.kind == doubleNode {
		// Beyond the range it is infinite, which is no error here.
		if n.float, err = strconv.ParseFloat(string(text), 64); err != nil && !errors.Is(err, strconv.ErrRange) {
			return errSyntax
		}
		return nil
	}
	if n.num, err = strconv.ParseInt(string(text), 10, 64); err != nil {
		n.kind = bigNode
	} else if int64(int32(n.num)) != n.num {
		n.kind = longNode
	}
	return nil
}
