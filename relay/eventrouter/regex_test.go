package eventrouter

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/gapless/gapless/relay/format"
)

func TestRegexesOfJava(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ regex, to, value, want string }{
		{"(?<routedByValue>.*)", "outbox.event.${routedByValue}", "order", "outbox.event.order"},
		{"Order(?<what>.*)", "ev.${what}", "Other", "Other"},
		{"a|ab", "x", "ab", "x"},                     // it goes on until the whole matches
		{"(a|ab)(c|bcd)?", "$1-$2", "abcd", "a-bcd"}, // and keeps the first way that does
		{"(a)(b)?", "$1$2.$0", "a", "a.a"},           // a group that took no part
		{"(a)(b)", "$12", "ab", "a2"},                // there is no group 12
		{`a\.b`, `x\$1\\y`, "a.b", `x$1\y`},          // escapes in the replacement
		{".*", "x", "a\u2028b", "a\u2028b"},          // no dot matches a line terminator
		{`\s`, "x", "\v", "x"},                       // as \s does not in Go
		{`\Qa.b\E+`, "x", "a.bbb", "x"},              // the last of what is quoted
		{`\p{Alpha}+`, "x", "abC", "x"},              // ASCII
		{`\p{Alpha}+`, "x", "é", "é"},                //
		{`(?i)order`, "x", "ORDER", "x"},             //
		{`[\w.-]+`, "x", "a.b-c", "x"},               //
		{`^a$`, "x", "a", "x"},                       //
		{`(?<=a)b|ab(?!c)`, "x", "ab", "x"},          // look-around
		{`(.)\1`, "same.$1", "aa", "same.a"},         // a back reference
		{`a++b`, "x", "aab", "x"},
		{`a++ab`, "x", "aab", "aab"}, // possessive
		{`(?:ab)*+c`, "x", "ababc", "x"},
		{`(?>a|ab)c`, "x", "abc", "abc"},
		{`(?<n>é)(?=.)x`, "${n}", "éx", "é"},
	} {
		re, err := compileJava(c.regex)
		if err != nil {
			t.Errorf("%q: %v", c.regex, err)
			continue
		}
		to, err := parseReplacement(c.to, re)
		if err != nil {
			t.Errorf("%q: %v", c.to, err)
			continue
		}
		got := c.value
		if groups, ok, err := re.match(c.value); err != nil {
			t.Errorf("%q on %q: %v", c.regex, c.value, err)
		} else if ok {
			got = to.of(groups)
		}
		if got != c.want {
			t.Errorf("%q to %q of %q is %q, want %q", c.regex, c.to, c.value, got, c.want)
		}
	}
}

func TestWhatOnlyJavaReadsIsRefused(t *testing.T) {
	t.Parallel()
	for regex, want := range map[string]string{
		"[a-z&&[^b]]": "intersection", "[a[b]]": "class in a class", `\h`: `\h`, `\G`: `\G`, `(?x)a b`: "flags", `\p{IsAlphabetic}`: "IsAlphabetic",
		`a{,3}`: "brace", `\012`: "octal", `a\`: "backslash", `(a`: "missing", `(?<n>a)(b)(?=c).`: "name all or none", `[]a]`: "empty class",
		`[^\S]`: `\S`, `(a)(b)(c)(d)(e)(f)(g)(h)(i)(j)\10`: "two digits",
	} {
		if _, err := compileJava(regex); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error about %q", regex, err, want)
		}
	}
	re, err := compileJava("(?<a>x)")
	if err != nil {
		t.Fatal(err)
	}
	for to, want := range map[string]string{"${b}": `"b"`, "$2": "group 2", "$": "escape", `x\`: "backslash", "${a": "closed", "$x": "escape"} {
		if _, err := parseReplacement(to, re); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("replacement %q: %v, want an error about %q", to, err, want)
		}
	}
}

// A match that backtracks without end is given up.
func TestCatastrophicRegexIsBounded(t *testing.T) {
	t.Parallel()
	re, err := compileJava(`(?=a)(?:a|aa)+b`)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := re.match(strings.Repeat("a", 60)); err == nil {
		t.Error("no error after the bound")
	}
}

// A value that took too long is not tried again by the same stream.
func TestCatastrophicValueIsRemembered(t *testing.T) {
	t.Parallel()
	made, err := Config{TopicRegex: `(?=a)(?:a|aa)+b`, TopicReplacement: "x"}.Prepare(table(usual))
	if err != nil {
		t.Fatal(err)
	}
	value := strings.Repeat("a", 60)
	r, columns := made.(*rows), row("{}")
	columns[1].Value = []byte(value)
	for range 2 {
		var b format.Buffer
		var out format.Record
		err := r.Record(position, columns, &b, &out)
		if fault, ok := errors.AsType[*format.Fault](err); !ok || fault.Reason != format.BadTopic {
			t.Fatalf("error %v", err)
		}
		if r.topics[value].err == nil {
			t.Fatal("it is not remembered")
		}
		r.regex = pattern{} // a second try would panic
	}
}

// Where the translation is one that Go takes, it says the same of every value as the
// expression itself, when that is one of both languages.
func FuzzRegex(f *testing.F) {
	f.Add("a(b|c)*d?", "abcd")
	f.Add(`[a-z]+\.(x|y)`, "ab.x")
	f.Fuzz(func(t *testing.T, expr, value string) {
		re, err := compileJava(expr)
		if err != nil {
			return
		}
		_, ok, err := re.match(value)
		if err != nil || re.linear == nil || strings.ContainsAny(expr, `\.$[`) {
			return
		}
		same, err := regexp.Compile(`\A(?:` + expr + `)\z`)
		if err != nil {
			return
		}
		if same.MatchString(value) != ok {
			t.Errorf("%q on %q: %v", expr, value, ok)
		}
	})
}
