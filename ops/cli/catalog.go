package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/gapless/gapless/ops/catalog"
)

type catalogCommands struct {
	Import catalogImport `cmd:"" help:"Load products from a CSV file: sku,name,price_minor,currency,stock."`
}

type catalogImport struct {
	database
	output
	SetStock bool   `help:"Set the stock of SKUs that exist, too, by a movement; else their stock is left as it is."`
	File     string `arg:"" help:"CSV file, or - for standard input."`
}

func (c *catalogImport) Run(ctx context.Context, e *env) error {
	in := e.stdin
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return usage("%w", err)
		}
		defer f.Close()
		in = f
	}
	products, err := catalog.Read(io.LimitReader(in, 1<<30))
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	pool, err := c.pool(ctx, 1)
	if err != nil {
		return err
	}
	defer pool.Close()
	report, err := catalog.Import(ctx, pool, products, c.SetStock)
	if err != nil {
		return err
	}
	return c.write(e, report, func(w *tabwriter.Writer) {
		fmt.Fprintf(w, "%d products, %d of them new, %d stocks adjusted\n", report.Products, report.New, report.Adjusted)
	})
}
