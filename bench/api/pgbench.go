package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/gapless/gapless/contracts"
	"github.com/gapless/gapless/contracts/gaplessv1"
	"github.com/gapless/gapless/sql"
)

// pgbench is the contender: the statements of a checkout without the checkout.
type pgbench struct {
	path    string
	dir     string
	url     string
	runs    int
	payload string
}

func newPgbench(dir, url string) (*pgbench, error) {
	path, err := findPgbench()
	if err != nil {
		return nil, err
	}
	message := &gaplessv1.OrderPlaced{
		OrderId: "01a2070e-7efd-7eb6-80ca-a33c0609ec85", CustomerId: "c-100", Currency: "USD", TotalMinor: 2500,
		Items:           []*gaplessv1.Item{{Sku: "A-1", Quantity: 2, UnitPriceMinor: 1250}},
		ShippingAddress: &gaplessv1.Address{Line1: "1 Main St", City: "San Francisco", PostalCode: "94107", Country: "US"},
		PaymentToken:    "tok_ok", Plan: gaplessv1.Plan_PLAN_STANDARD,
	}
	payload, _, _, err := contracts.NewJSON().Encode(contracts.Order, message)
	if err != nil {
		return nil, err
	}
	return &pgbench{path: path, dir: dir, url: url, payload: bytea(payload)}, nil
}

func findPgbench() (string, error) {
	if path, err := exec.LookPath("pgbench"); err == nil {
		return path, nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/pgbench")
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("find pgbench: %w", os.ErrNotExist)
	}
	return found[len(found)-1], nil
}

func bytea(b []byte) string { return `'\x` + hex.EncodeToString(b) + `'::bytea` }

// script is one order. run keeps the ids of two runs apart.
func (p *pgbench) script(run int, pipeline bool) string {
	// Ascends for each client, as the ids of the API do.
	id := fmt.Sprintf(`(lpad(to_hex(:n::bigint), 8, '0') || '-%04x-7000-8000-' || lpad(to_hex(:client_id::bigint), 12, '0'))::uuid`, run)
	text := strings.ReplaceAll(id, "::uuid", "::text")
	const parent = "'00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'"
	answer := bytea([]byte(`{"created_at":"2026-11-23T06:18:40.253964Z","currency":"USD","customer_id":"c-1","id":"01a2070e-7efd-7eb6-80ca-a33c0609ec85","plan":"standard","status":"pending","total_minor":2500}`))
	statements := []string{
		bind(sql.CheckoutBegin),
		bind(sql.IdempotencyLockTimeout),
		bind(sql.IdempotencyKeyInsert, "'bench'", "'POST /v1/orders'", text, "sha256('x')", id, "202", answer),
		bind(sql.IdempotencyLockTimeoutReset),
		bind(sql.CheckoutOrderInsert, id, "'bench'", "'c-100'", "'USD'", "2500", "'standard'", "'tok_ok'",
			`'{"line1": "1 Main St", "city": "San Francisco", "postal_code": "94107", "country": "US"}'`, parent, "clock_timestamp()",
			"'{A-1}'", "'{2}'", "'{1250}'"),
		bind(sql.OutboxAppend, "array["+id+"]", "'{order}'", "array["+text+"]", "'{1}'", "'{OrderPlaced}'", "array["+p.payload+"]",
			`array[jsonb_build_object('content-type', 'application/json', 'ce_correlationid', `+text+`, 'traceparent', `+parent+`)]`),
		bind(sql.CheckoutCommit),
	}
	lines := []string{`\set n :n + 1`}
	if pipeline {
		lines = append(lines, `\startpipeline`)
	}
	for _, s := range statements {
		lines = append(lines, s+";")
	}
	if pipeline {
		lines = append(lines, `\endpipeline`)
	}
	return strings.Join(lines, "\n") + "\n"
}

// bind puts values for parameters and makes one line of a statement.
func bind(statement string, values ...string) string {
	var lines []string
	for line := range strings.Lines(statement) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "--") {
			lines = append(lines, line)
		}
	}
	text := strings.Join(lines, " ")
	for i := len(values); i > 0; i-- {
		text = strings.ReplaceAll(text, "$"+strconv.Itoa(i), values[i-1])
	}
	return text
}

var tps = regexp.MustCompile(`(?m)^tps = ([0-9.]+) \(without`)

func (p *pgbench) run(ctx context.Context, clients int, d time.Duration, pipeline bool) (float64, error) {
	p.runs++
	file := filepath.Join(p.dir, "order.sql")
	if err := os.WriteFile(file, []byte(p.script(p.runs, pipeline)), 0o600); err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, p.path, "-n", "-M", "prepared", "-f", file, "-D", "n=0", "-c", strconv.Itoa(clients), "-j", "2",
		"-T", strconv.Itoa(max(1, int(d.Seconds()))), p.url)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("pgbench: %w: %s", err, out)
	}
	m := tps.FindSubmatch(out)
	if m == nil || !strings.Contains(string(out), "number of failed transactions: 0") {
		return 0, fmt.Errorf("pgbench: unexpected output: %s", out)
	}
	return strconv.ParseFloat(string(m[1]), 64)
}
