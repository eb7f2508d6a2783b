package cli

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"text/tabwriter"

	"github.com/gapless/gapless/ops/load"
)

type loadCommand struct {
	output
	APIURL      string  `name:"api-url" help:"Where the API is." default:"http://127.0.0.1:8080" placeholder:"URL"`
	APIKey      string  `name:"api-key" help:"Key of an operator, who decides reviews; for an API with --auth keys. A command line is seen by others: prefer the variable, or its _FILE." placeholder:"KEY"`
	Orders      int     `help:"Place this many orders, a mix of every outcome." default:"200"`
	Rate        float64 `help:"Orders per second; 0 means as fast as they go."`
	Concurrency int     `help:"Requests at once." default:"16"`
	NoWait      bool    `help:"Do not wait until every order has ended."`
}

// reach looks for the API first: the placing itself would try again for ever.
func (c *loadCommand) reach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(c.APIURL, "/")+"/openapi.yaml", http.NoBody)
	if err != nil {
		return usage("--api-url: %w", err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(req)
	if err != nil {
		return &awayError{fmt.Errorf("reach the API: %w", err), "start 'gapless api', or correct --api-url"}
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("reach the API: %s has no /openapi.yaml (%s): correct --api-url", c.APIURL, answer.Status)
	}
	return nil
}

// awayError is about a server that nothing else tells apart by its error.
type awayError struct {
	error
	remedy string
}

func (e *awayError) Unwrap() error { return e.error }

func (c *loadCommand) Run(ctx context.Context, e *env) error {
	switch {
	case c.Orders < 1 || c.Concurrency < 1:
		return usage("--orders and --concurrency must be at least 1")
	case c.Rate < 0:
		return usage("--rate must not be negative")
	case !isURL(c.APIURL):
		return usage("--api-url: %q is no URL", c.APIURL)
	}
	if err := c.reach(ctx); err != nil {
		return err
	}
	config := load.Config{BaseURL: strings.TrimSuffix(c.APIURL, "/"), Key: c.APIKey, Orders: c.Orders, Rate: c.Rate, Concurrency: c.Concurrency, Wait: !c.NoWait}
	if isTerminal(e.stderr) {
		config.Progress = func(p load.Progress) {
			fmt.Fprintf(e.stderr, "\r\033[K%d of %d placed, %d seen to end, %d requests made again", p.Placed, p.Orders, p.Ended, p.Tries)
		}
	}
	report, err := load.Run(ctx, config)
	if isTerminal(e.stderr) {
		fmt.Fprint(e.stderr, "\r\033[K")
	}
	if err != nil {
		return fmt.Errorf("place orders: %w", err)
	}
	if c.Output == "json" {
		err = c.write(e, report, func(*tabwriter.Writer) {})
	} else {
		err = report.WriteText(e.stdout)
	}
	if err == nil && !report.OK() {
		return errBroken // the report has said it
	}
	return err
}
