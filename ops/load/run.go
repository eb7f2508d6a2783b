package load

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
)

// Config of a run.
type Config struct {
	// BaseURL of the API, for example http://127.0.0.1:8080.
	BaseURL string
	// Key for --auth keys; it must be an operator's, who decides reviews.
	Key string
	// Orders to place.
	Orders int
	// Rate is orders per second; 0 means as fast as Concurrency goes.
	Rate float64
	// Concurrency is how many requests are under way at once; 0 means 16.
	Concurrency int
	// Mix of scenarios; nil means [Mix].
	Mix []Scenario
	// Stop ends the placing early when it is closed: orders placed by then are
	// followed all the same. nil means that all Orders are placed.
	Stop <-chan struct{}
	// Wait until each order has come to its end.
	Wait bool
	// Progress is called often, from one goroutine; nil means silence.
	Progress func(Progress)
	// Client for HTTP; nil means one with timeouts of its own.
	Client *http.Client
}

// Progress of a run.
type Progress struct {
	Placed, Ended, Orders int
	Tries                 int64 // requests without a final answer so far
}

type placed struct {
	id       string
	scenario Scenario
	at       time.Time
}

// Run places the orders and, with Wait, follows them to their ends. It returns
// an error only when the run itself could not be done; what went otherwise than
// expected is in the report.
func Run(ctx context.Context, c Config) (*Report, error) {
	if c.Orders <= 0 {
		return nil, errors.New("config: Orders must be positive")
	}
	c.Concurrency = cmp.Or(c.Concurrency, 16)
	if c.Mix == nil {
		c.Mix = Mix()
	}
	if c.Client == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.MaxIdleConnsPerHost = c.Concurrency + 4
		defer transport.CloseIdleConnections()
		c.Client = &http.Client{Transport: transport, Timeout: 15 * time.Second}
	}
	r := &runner{Config: c, report: Report{Orders: c.Orders, Followed: c.Wait, Ends: make(map[string]int), Kinds: make(map[string]map[string]int)}}
	r.client = &client{base: c.BaseURL, key: c.Key, http: c.Client, mark: func() { r.tries.Add(1) }}
	start := time.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	go r.tell(done)
	err := r.run(ctx)
	close(done)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Took, r.report.Tries = time.Since(start), r.tries.Load()
	slices.Sort(r.report.Post)
	slices.Sort(r.report.EndToEnd)
	return &r.report, err
}

type runner struct {
	Config
	client *client
	tries  atomic.Int64

	mu     sync.Mutex
	report Report
	ended  int
}

func (r *runner) run(ctx context.Context) error {
	scenarios := deal(r.Mix, r.Orders)
	follow := make(chan placed, r.Orders)
	var g errgroup.Group
	if r.Wait {
		g.Go(func() error { return r.followAll(ctx, follow) })
	}
	var placing errgroup.Group
	placing.SetLimit(r.Concurrency)
	start := time.Now()
	for i, s := range scenarios {
		if r.Rate > 0 {
			due := start.Add(time.Duration(float64(i) / r.Rate * float64(time.Second)))
			if err := sleepUntil(ctx, due); err != nil {
				break
			}
		}
		if ctx.Err() != nil || r.stopped() {
			break
		}
		placing.Go(func() error {
			r.place(ctx, s, i, follow)
			return nil
		})
	}
	err := placing.Wait()
	r.mu.Lock()
	r.report.PlacedIn = time.Since(start)
	r.mu.Unlock()
	close(follow)
	return errors.Join(err, g.Wait(), ctx.Err())
}

func (r *runner) stopped() bool {
	select {
	case <-r.Stop:
		return true
	default:
		return false
	}
}

func (r *runner) place(ctx context.Context, s Scenario, i int, follow chan<- placed) {
	at := time.Now()
	o, err := r.client.place(ctx, s, fmt.Sprintf("c-%d", i%97), uuid.NewString())
	took := time.Since(at)
	if err == nil && s.Then == "cancel" {
		err = r.client.act(ctx, o.ID, "cancel", map[string]any{})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.report.Failed = append(r.report.Failed, fmt.Sprintf("%s: %v", s.Name, err))
		return
	}
	r.report.Placed++
	r.report.Post = append(r.report.Post, took)
	r.report.IDs = append(r.report.IDs, o.ID)
	follow <- placed{o.ID, s, at}
}

// followAll polls the orders that have not ended, oldest first, a round at a
// time, so that the polling never outweighs the load itself.
func (r *runner) followAll(ctx context.Context, in <-chan placed) error {
	var open []placed
	for in != nil || len(open) > 0 {
		round := time.Now().Add(100 * time.Millisecond)
		for more := true; more && in != nil; {
			select {
			case p, ok := <-in:
				if !ok {
					in = nil
					break
				}
				open = append(open, p)
			default:
				more = false
			}
		}
		polled := open[:min(len(open), 200)]
		// Those not polled come first next time.
		still := slices.Clone(open[len(polled):])
		for _, p := range polled {
			ended, err := r.follow(ctx, p)
			if err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				return fmt.Errorf("follow order %s (%s): %w", p.id, p.scenario.Name, err)
			}
			if !ended {
				still = append(still, p)
			}
		}
		open = still
		if err := sleepUntil(ctx, round); err != nil {
			return err
		}
	}
	return nil
}

func (r *runner) follow(ctx context.Context, p placed) (ended bool, err error) {
	o, err := r.client.look(ctx, p.id)
	if err != nil {
		return false, err
	}
	if o.Status == "in_review" && (p.scenario.Then == "approve" || p.scenario.Then == "reject") {
		return false, r.client.act(ctx, p.id, "review", map[string]string{"decision": p.scenario.Then})
	}
	end := o.end()
	if end == "" {
		return false, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended++
	r.report.Ends[end]++
	if r.report.Kinds[end] == nil {
		r.report.Kinds[end] = make(map[string]int)
	}
	r.report.Kinds[end][p.scenario.Name]++
	r.report.EndToEnd = append(r.report.EndToEnd, time.Since(p.at))
	if !slices.Contains(p.scenario.Ends, end) {
		r.report.Unexpected = append(r.report.Unexpected, fmt.Sprintf("order %s (%s) ended %s, expected %v", p.id, p.scenario.Name, end, p.scenario.Ends))
	}
	return true, nil
}

// tell reports progress until the run is over.
func (r *runner) tell(done <-chan struct{}) {
	if r.Progress == nil {
		return
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			r.mu.Lock()
			p := Progress{Placed: r.report.Placed, Ended: r.ended, Orders: r.Orders, Tries: r.tries.Load()}
			r.mu.Unlock()
			r.Progress(p)
		}
	}
}

func sleepUntil(ctx context.Context, at time.Time) error {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
