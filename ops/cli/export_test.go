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

// Messages reads the prefixes of a configuration file, and adds those of flags.
func Messages(path string, flags ...string) (map[string]eventrouter.Config, error) {
	file, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return (&messages{flags}).with(file.one())
}

// Verified is verified.
var Verified = verified
