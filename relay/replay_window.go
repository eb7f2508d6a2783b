package relay

import (
	"fmt"
	"time"
)

// window is the stretch of time that is read: without it, each page of a long time would
// be a scan of all that is left of it.
type window struct {
	timed    bool // else the whole table in one
	from, to time.Time
	end      time.Time
	width    time.Duration
}

const (
	firstWidth = time.Second
	pageRows   = 1000
	pageBytes  = 8 << 20
)

func newWindow(first, last *time.Time) window {
	if first == nil || last == nil {
		return window{}
	}
	end := last.Add(time.Microsecond)
	w := window{timed: true, from: *first, end: end, width: firstWidth}
	w.to = earlier(w.from.Add(w.width), end)
	return w
}

// resume begins at the place where an earlier run has ended.
func (w *window) resume(place []string) error {
	if !w.timed || place == nil {
		return nil
	}
	at, err := time.Parse(textTime, place[0]+zone(place[0]))
	if err != nil {
		return fmt.Errorf("read the replay's place: %w", err)
	}
	w.from = at
	w.to = earlier(at.Add(w.width), w.end)
	return nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// next moves on behind the page, and tells whether nothing is left. Windows grow while
// they hold little, and shrink when they hold more than a page.
func (w *window) next(page *replayPage) (finished bool) {
	switch {
	case page.full && w.timed:
		w.width = max(w.width/2, firstWidth)
		w.from = page.at
		return false
	case page.full:
		return false
	case !w.timed || !w.to.Before(w.end):
		return true
	}
	if len(page.rows) < pageRows/2 {
		w.width *= 2
	}
	w.from, w.to = w.to, earlier(w.to.Add(w.width), w.end)
	return false
}
