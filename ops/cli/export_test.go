package cli

import (
	"github.com/gapless/gapless/relay/eventrouter"
	"github.com/gapless/gapless/relay/format"
)

// Explain is explain, for tests of errors that no server at hand gives.
var Explain = explain

// Tables reads the formats of a configuration file.
func Tables(path string) (map[string]format.Format, error) {
	file, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return file.one().tables()
}

// Messages reads the prefixes of a configuration file.
func Messages(path string) (map[string]eventrouter.Config, error) {
	file, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return file.one().messages()
}

// Verified is verified.
var Verified = verified
