package eventrouter

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dlclark/regexp2"
)

// pattern matches a whole value as java.util.regex does. Most run on Go's regexp, in
// linear time; those with look-around, back references or possessive quantifiers on
// one that backtracks, with a bound on its time.
type pattern struct {
	linear *regexp.Regexp
	back   *regexp2.Regexp
	groups int
	first  *pattern // the same, that need not match the whole
}

// matchTimeout bounds a match that backtracks.
const matchTimeout = 100 * time.Millisecond

// compileJava compiles an expression. What neither engine reads as Java does is an
// error that names it: a topic must never be another one than Java would have made of
// the value.
// https://docs.oracle.com/en/java/javase/21/docs/api/java.base/java/util/regex/Pattern.html
func compileJava(expr string) (pattern, error) {
	j := javaRegex{in: expr}
	if err := j.translate(); err != nil {
		return pattern{}, fmt.Errorf("%w: write it without", err)
	}
	if j.backtracks && j.named && j.numbered {
		// It numbers named groups after all others, Java numbers all from the left.
		return pattern{}, fmt.Errorf("regular expression %q has groups with and without a name beside look-around, a back reference or a possessive quantifier: name all or none", expr)
	}
	first, err := j.compile(string(j.out))
	if err != nil {
		return pattern{}, err
	}
	whole, err := j.compile(`\A(?:` + string(j.out) + `)\z`)
	whole.first = &first
	return whole, err
}

func (j *javaRegex) compile(text string) (pattern, error) {
	if !j.backtracks {
		re, err := regexp.Compile(text)
		if err != nil {
			return pattern{}, fmt.Errorf("regular expression %q: %w", j.in, err)
		}
		return pattern{linear: re, groups: re.NumSubexp()}, nil
	}
	re, err := regexp2.Compile(text, regexp2.None)
	if err != nil {
		return pattern{}, fmt.Errorf("regular expression %q: %w", j.in, err)
	}
	re.MatchTimeout = matchTimeout
	return pattern{back: re, groups: len(re.GetGroupNumbers()) - 1}, nil
}

// group is the number of a named group; -1 when there is none.
func (p pattern) group(name string) int {
	if p.linear != nil {
		return p.linear.SubexpIndex(name)
	}
	return p.back.GroupNumberFromName(name)
}

// match returns the text of each group, nil for one that took no part; ok is false
// for no match.
func (p pattern) match(value string) (groups []*string, ok bool, err error) {
	if p.linear != nil {
		m := p.linear.FindStringSubmatchIndex(value)
		for i := 0; i < len(m); i += 2 {
			var text *string
			if m[i] >= 0 {
				t := value[m[i]:m[i+1]]
				text = &t
			}
			groups = append(groups, text)
		}
		return groups, m != nil, nil
	}
	m, err := p.back.FindStringMatch(value)
	if err != nil || m == nil {
		return nil, false, err
	}
	for i := range p.groups + 1 {
		var text *string
		if g := m.GroupByNumber(i); g != nil && len(g.Captures) > 0 {
			t := g.String()
			text = &t
		}
		groups = append(groups, text)
	}
	return groups, true, nil
}

type javaRegex struct {
	in  string
	at  int
	out []byte
	// The last thing was a quantifier, so that a + behind it is possessive.
	quantified bool
	atom       int   // where the last atom begins in out
	open       []int // where the open groups begin in out

	backtracks, named, numbered bool
}

func (j *javaRegex) unsupported(what string) error {
	return fmt.Errorf("regular expression %q has %s at %d, which only Java has", j.in, what, j.at)
}

func (j *javaRegex) write(s string) { j.out = append(j.out, s...) }

func (j *javaRegex) translate() error {
	for j.at < len(j.in) {
		c := j.in[j.at]
		switch c {
		case '*', '+', '?', '{':
			if err := j.quantifier(c); err != nil {
				return err
			}
			continue
		case '(':
			j.open = append(j.open, len(j.out))
			if err := j.group(); err != nil {
				return err
			}
			j.quantified = false
			continue
		case ')':
			j.write(")")
			j.at++
			if n := len(j.open); n > 0 {
				j.atom, j.open = j.open[n-1], j.open[:n-1]
			}
			j.quantified = false
			continue
		}
		j.atom, j.quantified = len(j.out), false
		switch c {
		case '\\':
			if err := j.escape(false); err != nil {
				return err
			}
		case '[':
			if err := j.class(); err != nil {
				return err
			}
		case '.':
			// Java's dot leaves out all of its line terminators.
			j.write("[^\\n\\r\u0085\u2028\u2029]")
			j.at++
		case '$':
			// In a match of the whole, what comes behind the end can only be nothing.
			j.write(`(?:\z)`)
			j.at++
		default:
			_, n := utf8.DecodeRuneInString(j.in[j.at:])
			j.write(j.in[j.at : j.at+n])
			j.at += n
		}
	}
	return nil
}

func (j *javaRegex) quantifier(c byte) error {
	if j.quantified && c == '+' {
		// A possessive one is an independent group around the atom.
		j.backtracks = true
		j.out = slices.Insert(j.out, j.atom, []byte("(?>")...)
		j.write(")")
		j.at++
		j.quantified = false
		return nil
	}
	if c != '{' {
		j.out = append(j.out, c)
		j.at++
		// Behind a quantifier a ? makes it lazy, and no other may follow.
		j.quantified = c != '?' || !j.quantified
		return nil
	}
	end := strings.IndexByte(j.in[j.at:], '}')
	if end < 0 || !repetition(j.in[j.at+1:j.at+end]) {
		return j.unsupported("a brace that begins no repetition")
	}
	j.write(j.in[j.at : j.at+end+1])
	j.at += end + 1
	j.quantified = true
	return nil
}

func repetition(s string) bool {
	low, high, _ := strings.Cut(s, ",")
	if _, err := strconv.ParseUint(low, 10, 16); err != nil {
		return false
	}
	if high == "" {
		return true
	}
	_, err := strconv.ParseUint(high, 10, 16)
	return err == nil
}

// group takes what opens a group, when Go has it too.
func (j *javaRegex) group() error {
	rest := j.in[j.at:]
	if !strings.HasPrefix(rest, "(?") {
		j.write("(")
		j.numbered = true
		j.at++
		return nil
	}
	switch {
	case strings.HasPrefix(rest, "(?:"):
		j.write("(?:")
		j.at += 3
		return nil
	case strings.HasPrefix(rest, "(?=") || strings.HasPrefix(rest, "(?!") || strings.HasPrefix(rest, "(?>"):
		j.backtracks = true
		j.write(rest[:3])
		j.at += 3
		return nil
	case strings.HasPrefix(rest, "(?<=") || strings.HasPrefix(rest, "(?<!"):
		j.backtracks = true
		j.write(rest[:4])
		j.at += 4
		return nil
	case strings.HasPrefix(rest, "(?<"):
		end := strings.IndexByte(rest, '>')
		if end < 0 {
			return j.unsupported("a group whose name has no end")
		}
		j.named = true
		j.write(rest[:end+1])
		j.at += end + 1
		return nil
	}
	// Flags: i is the same for ASCII in both when u is not given, but Go folds all of
	// Unicode. Topic names are ASCII.
	end := strings.IndexAny(rest, ":)")
	if end < 0 || strings.Trim(rest[2:end], "i") != "" {
		return j.unsupported(fmt.Sprintf("flags other than (?i), %q,", rest[:min(len(rest), max(end, 3))]))
	}
	j.write(rest[:end+1])
	j.at += end + 1
	return nil
}

// escape takes a backslash and what it escapes.
func (j *javaRegex) escape(inClass bool) error {
	if j.at+1 >= len(j.in) {
		return j.unsupported("a backslash at its end")
	}
	c := j.in[j.at+1]
	switch {
	case strings.IndexByte("dDsSwW", c) >= 0:
		return j.ascii(c, inClass)
	case strings.IndexByte("tnrfa", c) >= 0:
	case !inClass && strings.IndexByte("bBA", c) >= 0:
	case !inClass && (c == 'z' || c == 'Z'):
		j.write(`(?:\z)`)
		j.at += 2
		return nil
	case c == 'Q' && !inClass:
		rest := j.in[j.at+2:]
		quoted, _, closed := strings.Cut(rest, `\E`)
		j.write(regexp.QuoteMeta(quoted))
		j.at += 2 + len(quoted)
		if closed {
			j.at += 2
		}
		return nil
	case c == 'p' || c == 'P':
		return j.property(c == 'P', inClass)
	case c == '0' || inClass && c >= '1' && c <= '9':
		return j.unsupported("an octal number")
	case c >= '1' && c <= '9':
		if j.at+2 < len(j.in) && j.in[j.at+2] >= '0' && j.in[j.at+2] <= '9' {
			return j.unsupported("a back reference of two digits")
		}
		j.backtracks = true
	case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
		return j.unsupported(fmt.Sprintf(`\%c`, c))
	}
	if c >= utf8.RuneSelf {
		j.at++ // what it escapes needs none
		return nil
	}
	j.write(j.in[j.at : j.at+2])
	j.at += 2
	return nil
}

// ascii spells the classes out: the engines do not agree on what is in them.
func (j *javaRegex) ascii(c byte, inClass bool) error {
	set := map[byte]string{'d': "0-9", 's': `\t\n\v\f\r `, 'w': "a-zA-Z0-9_"}[c|0x20]
	if err := j.set(set, c < 'a', inClass, fmt.Sprintf(`\%c`, c)); err != nil {
		return err
	}
	j.at += 2
	return nil
}

// set writes the characters of a class, or all others.
func (j *javaRegex) set(set string, not, inClass bool, what string) error {
	switch {
	case not && inClass:
		return j.unsupported(what + " in a class")
	case not:
		j.write("[^" + set + "]")
	case inClass:
		j.write(set)
	default:
		j.write("[" + set + "]")
	}
	return nil
}

// posix are Java's classes for ASCII.
var posix = map[string]string{
	"Lower": "a-z", "Upper": "A-Z", "ASCII": `\x00-\x7F`, "Alpha": "a-zA-Z", "Digit": "0-9", "Alnum": "a-zA-Z0-9",
	"XDigit": "0-9A-Fa-f", "Blank": ` \t`, "Space": `\t\n\v\f\r `, "Punct": "!-/:-@\\[-`{-~", "Graph": "!-~", "Print": " -~",
	"Cntrl": `\x00-\x1F\x7F`,
}

func (j *javaRegex) property(not, inClass bool) error {
	rest := j.in[j.at+2:]
	var name string
	if strings.HasPrefix(rest, "{") {
		end := strings.IndexByte(rest, '}')
		if end < 0 {
			return j.unsupported(`\p without an end`)
		}
		name = rest[1:end]
		j.at += 2 + end + 1
	} else {
		name = rest[:min(1, len(rest))]
		j.at += 3
	}
	if set, ok := posix[name]; ok {
		return j.set(set, not, inClass, `\P{`+name+"}")
	}
	// One letter or two are general categories, which both have.
	if len(name) == 0 || len(name) > 2 {
		return j.unsupported(fmt.Sprintf(`\p{%s}`, name))
	}
	if not {
		j.write(`\P{` + name + "}")
	} else {
		j.write(`\p{` + name + "}")
	}
	return nil
}

// class takes a class without unions and intersections.
func (j *javaRegex) class() error {
	j.write("[")
	j.at++
	if j.at < len(j.in) && j.in[j.at] == '^' {
		j.write("^")
		j.at++
	}
	for first := true; j.at < len(j.in); first = false {
		switch c := j.in[j.at]; {
		case c == ']':
			if first {
				return j.unsupported("an empty class")
			}
			j.write("]")
			j.at++
			return nil
		case c == '[':
			return j.unsupported("a class in a class")
		case strings.HasPrefix(j.in[j.at:], "&&"):
			return j.unsupported("an intersection of classes")
		case c == '\\':
			isClass := j.at+1 < len(j.in) && strings.IndexByte("dDsSwWhHvVpP", j.in[j.at+1]) >= 0
			if err := j.escape(true); err != nil {
				return err
			}
			if isClass && j.at < len(j.in) && j.in[j.at] == '-' { // it begins no range there
				j.write(`\-`)
				j.at++
			}
		default:
			j.out = append(j.out, c)
			j.at++
		}
	}
	return fmt.Errorf("regular expression %q has a class without an end", j.in)
}

// replacement is what Java's Matcher.replaceFirst puts in place of the match.
type replacement []part

type part struct {
	text  string
	group int // -1: text
}

// parseReplacement resolves groups now: Java would throw at the first match.
func parseReplacement(text string, re pattern) (replacement, error) {
	var r replacement
	var literal strings.Builder
	flush := func() {
		if literal.Len() > 0 {
			r = append(r, part{literal.String(), -1})
			literal.Reset()
		}
	}
	fault := func(what string) error { return fmt.Errorf("replacement %q: %s", text, what) }
	for i := 0; i < len(text); {
		switch c := text[i]; c {
		case '\\':
			if i+1 == len(text) {
				return nil, fault("a backslash at the end escapes nothing")
			}
			literal.WriteByte(text[i+1])
			i += 2
		case '$':
			i++
			var group int
			if i < len(text) && text[i] == '{' {
				end := strings.IndexByte(text[i:], '}')
				if end < 0 {
					return nil, fault("${ is not closed")
				}
				name := text[i+1 : i+end]
				if group = re.group(name); group < 0 {
					return nil, fault(fmt.Sprintf("the regular expression has no group %q", name))
				}
				i += end + 1
			} else {
				if i == len(text) || text[i] < '0' || text[i] > '9' {
					return nil, fault("a $ is followed by a group's number or {name}, else escape it: \\$")
				}
				group = int(text[i] - '0')
				i++
				if group > re.groups {
					return nil, fault(fmt.Sprintf("the regular expression has no group %d", group))
				}
				// As many digits as still name a group.
				for i < len(text) && text[i] >= '0' && text[i] <= '9' && group*10+int(text[i]-'0') <= re.groups {
					group = group*10 + int(text[i]-'0')
					i++
				}
			}
			flush()
			r = append(r, part{group: group})
		default:
			literal.WriteByte(c)
			i++
		}
	}
	flush()
	return r, nil
}

// of makes the text that is put in place of a match.
func (r replacement) of(groups []*string) string {
	var b strings.Builder
	for _, p := range r {
		if p.group < 0 {
			b.WriteString(p.text)
		} else if g := groups[p.group]; g != nil { // else it took no part
			b.WriteString(*g)
		}
	}
	return b.String()
}

// MatchName compiles an expression by which Debezium's users choose tables, and which
// matches a whole name in any case. What Go cannot read as Java does is an error.
func MatchName(expr string) (func(name string) (bool, error), error) {
	p, err := compileJava("(?i)" + expr)
	if err != nil {
		return nil, err
	}
	return func(name string) (bool, error) {
		_, ok, err := p.match(name)
		return ok, err
	}, nil
}
