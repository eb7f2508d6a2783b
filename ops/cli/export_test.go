package cli

import "github.com/gapless/gapless/relay/format"

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

// Verified is verified.
var Verified = verified
