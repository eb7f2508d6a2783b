package cli

import (
	"fmt"
	"os"
	"strings"

	"github.com/alecthomas/kong"
)

// secret is a flag that may be in a file, by its variable's twin with _FILE. The file is
// read again each time it is asked for: what is rotated needs no restart.
type secret struct {
	text string
	file inFile
}

// inFile is the path of a file with a flag's value.
type inFile string

// Decode is part of kong.MapperValue.
func (s *secret) Decode(ctx *kong.DecodeContext) error {
	token, err := ctx.Scan.PopValue("text")
	if err != nil {
		return err
	}
	switch v := token.Value.(type) {
	case inFile:
		*s = secret{file: v}
	case string:
		*s = secret{text: v}
	}
	return nil
}

// now is the value as it is now.
func (s secret) now() (string, error) {
	if s.file == "" {
		return s.text, nil
	}
	return s.file.read()
}

// read returns the file's text without the line feed at its end.
func (f inFile) read() (string, error) {
	text, err := os.ReadFile(string(f))
	if err != nil {
		return "", fmt.Errorf("read value: %w", err)
	}
	return strings.TrimRight(string(text), "\r\n"), nil
}
