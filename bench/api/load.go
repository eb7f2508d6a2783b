package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// keys number every request of a run: each is an order of its own.
var keys atomic.Int64

const body = `{"customer_id":"c-%d","currency":"USD","items":[{"sku":"A-1","quantity":2}],` +
	`"shipping_address":{"line1":"1 Main St","city":"San Francisco","postal_code":"94107","country":"US"},` +
	`"payment_token":"tok_ok","plan":"standard"}`

// poster is one persistent connection. net/http would take as much of the
// machine as the server does.
type poster struct {
	conn net.Conn
	r    *bufio.Reader
	buf  []byte
}

func dial(ctx context.Context, address string) (*poster, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return &poster{conn: conn, r: bufio.NewReader(conn)}, nil
}

// post places one order and checks that the answer is a 202.
func (p *poster) post() error {
	n := keys.Add(1)
	text := fmt.Sprintf(body, n%997)
	p.buf = fmt.Appendf(p.buf[:0], "POST /v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nIdempotency-Key: bench-%d-%d\r\nContent-Length: %d\r\n\r\n%s",
		started, n, len(text), text)
	if _, err := p.conn.Write(p.buf); err != nil {
		return err
	}
	status, err := p.r.ReadString('\n')
	if err != nil {
		return err
	}
	length := -1
	for {
		line, err := p.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		if name, value, ok := strings.Cut(string(line), ":"); ok && strings.EqualFold(name, "Content-Length") {
			if length, err = strconv.Atoi(strings.TrimSpace(value)); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return errors.New("an answer without Content-Length")
	}
	answer := make([]byte, length)
	if _, err := io.ReadFull(p.r, answer); err != nil {
		return err
	}
	if !strings.HasPrefix(status, "HTTP/1.1 202") {
		return fmt.Errorf("%s: %s", strings.TrimSpace(status), answer)
	}
	return nil
}

// full posts as fast as the clients go and returns orders per second.
func full(ctx context.Context, address string, clients int, d time.Duration) (float64, error) {
	var done atomic.Int64
	end := time.Now().Add(d)
	start := time.Now()
	err := each(ctx, address, clients, func(p *poster) error {
		for time.Now().Before(end) {
			if err := p.post(); err != nil {
				return err
			}
			done.Add(1)
		}
		return nil
	})
	return float64(done.Load()) / time.Since(start).Seconds(), err
}

// paced posts rate orders per second on a fixed schedule, and measures from when
// a request was due, so that a stall is felt by all that should have come in it.
func paced(ctx context.Context, address string, clients int, rate float64, d time.Duration) ([]time.Duration, error) {
	total := int64(rate * d.Seconds())
	start := time.Now()
	var next atomic.Int64
	var mu sync.Mutex
	var all []time.Duration
	err := each(ctx, address, clients, func(p *poster) error {
		var mine []time.Duration
		defer func() {
			mu.Lock()
			all = append(all, mine...)
			mu.Unlock()
		}()
		for {
			i := next.Add(1) - 1
			if i >= total {
				return nil
			}
			due := start.Add(time.Duration(float64(i) / rate * float64(time.Second)))
			if wait := time.Until(due); wait > 0 {
				timer := time.NewTimer(wait)
				select {
				case <-ctx.Done():
					timer.Stop()
					return ctx.Err()
				case <-timer.C:
				}
			}
			if err := p.post(); err != nil {
				return err
			}
			mine = append(mine, time.Since(due))
		}
	})
	slices.Sort(all)
	return all, err
}

func each(ctx context.Context, address string, clients int, f func(*poster) error) error {
	var wg sync.WaitGroup
	errs := make([]error, clients)
	for i := range clients {
		wg.Go(func() {
			p, err := dial(ctx, address)
			if err != nil {
				errs[i] = err
				return
			}
			defer p.conn.Close()
			errs[i] = f(p)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
