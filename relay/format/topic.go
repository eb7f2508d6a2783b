package format

// names keeps one string for each topic or header name seen, so that a row
// costs no allocation for them. It is bounded, and so is what is kept: a writer
// that makes up names must not grow the relay's memory.
type names struct {
	prefix string
	seen   map[string]string
}

const (
	maxNames = 4096
	maxName  = 256 // bytes; no topic has more
)

func newNames(prefix string) names { return names{prefix: prefix, seen: map[string]string{}} }

func (n *names) of(v []byte) string {
	if s, ok := n.seen[string(v)]; ok {
		return s
	}
	s := n.prefix + string(v)
	if len(v) > maxName {
		return s
	}
	if len(n.seen) >= maxNames {
		clear(n.seen)
	}
	n.seen[string(v)] = s
	return s
}

// MaxTopic is how many bytes the broker allows a topic's name.
const MaxTopic = 249

// CheckTopic applies the broker's rule for topic names.
// https://github.com/apache/kafka/blob/trunk/clients/src/main/java/org/apache/kafka/common/internals/Topic.java
func CheckTopic(topic string) error {
	if topic == "" || len(topic) > MaxTopic || topic == "." || topic == ".." {
		return fault(BadTopic, "topic name of %d bytes; 1 to %d are allowed, not . or ..", len(topic), MaxTopic)
	}
	for i := range len(topic) {
		switch c := topic[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return fault(BadTopic, "topic name has byte %#x; letters, digits, . _ - are allowed", c)
		}
	}
	return nil
}
