package catalog

import (
	"bytes"
	_ "embed"
)

//go:embed sample.csv
var sample []byte

// Sample is the demo's catalogue: goods that never run out, one that may
// (B-1), and one that has (Z-0).
func Sample() ([]Product, error) { return Read(bytes.NewReader(sample)) }
