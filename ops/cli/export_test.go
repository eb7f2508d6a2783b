package cli

import "github.com/gapless/gapless/relay/format"

// Explain is explain, for tests of errors that no server at hand gives.
var Explain = explain

// Tables reads the formats of a configuration file.
func Tables(path string) (map[string]format.Format, error) {
	r := resolver{path: path}
	if err := r.load(); err != nil {
		return nil, err
	}
	return r.file.tables()
}

// Verified is verified.
var Verified = verified
