package crashpoint

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// plan counts down the hits that are left before each armed step fires.
type plan struct {
	mu   sync.Mutex
	left map[string]int
}

func parse(spec string) (*plan, error) {
	p := &plan{left: map[string]int{}}
	if spec == "" {
		return p, nil
	}
	for part := range strings.SplitSeq(spec, ",") {
		name, count, counted := strings.Cut(part, ":")
		n := 1
		if counted {
			var err error
			if n, err = strconv.Atoi(count); err != nil || n < 1 {
				return nil, fmt.Errorf("parse GAPLESS_CRASH %q: hit count must be a positive number", part)
			}
		}
		if name == "" {
			return nil, fmt.Errorf("parse GAPLESS_CRASH %q: name is empty", part)
		}
		p.left[name] = n
	}
	return p, nil
}

func (p *plan) fires(name string) bool {
	if len(p.left) == 0 {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	n, ok := p.left[name]
	if !ok {
		return false
	}
	p.left[name] = n - 1
	return n == 1
}
