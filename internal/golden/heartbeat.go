package golden

import _ "embed"

//go:embed heartbeats.json
var heartbeats []byte

// Heartbeats are connectors that send heartbeats, each with its first one. Timestamps,
// and ts_ms in the value, are those of the capture.
func Heartbeats() []Case {
	c, err := read(heartbeats)
	if err != nil {
		panic(err) // embedded, and read by a test
	}
	return c
}
