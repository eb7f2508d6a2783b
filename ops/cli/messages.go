package cli

import (
	"fmt"

	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/eventrouter"
)

// messages is the flag for logical messages.
type messages struct {
	Messages []string `help:"Prefix of logical messages that the relay sends. Who may execute pg_logical_emit_message may then publish: by default every login." placeholder:"PREFIX"`
}

// with adds the prefixes to those of the file, whose options stand.
func (m *messages) with(file *RelayFile) (map[string]eventrouter.Config, error) {
	all, err := file.messages()
	if err != nil {
		return nil, err
	}
	for _, prefix := range m.Messages {
		if _, named := all[prefix]; !named {
			all[prefix] = eventrouter.Config{}
		}
	}
	return all, nil
}

// messages maps the prefixes of logical messages that are sent to their options.
func (r *RelayFile) messages() (map[string]eventrouter.Config, error) {
	all := map[string]eventrouter.Config{}
	for i, t := range r.Tables {
		if t.Messages == "" {
			continue
		}
		if _, twice := all[t.Messages]; twice {
			return nil, fmt.Errorf("tables[%d].messages: %s is named twice", i, t.Messages)
		}
		want := "debezium"
		if t.Messages == relay.EmittedPrefix {
			want = "native"
		}
		if t.Table != "" || t.Retention != nil || t.Format != want {
			return nil, fmt.Errorf("tables[%d].messages: %s have no table and no retention, and the format %s", i, t.Messages, want)
		}
		if want == "native" {
			if _, err := t.format(); err != nil {
				return nil, fmt.Errorf("tables[%d].%w", i, err)
			}
			all[t.Messages] = eventrouter.Config{}
			continue
		}
		router, err := t.router()
		if err != nil {
			return nil, fmt.Errorf("tables[%d].%w", i, err)
		}
		all[t.Messages] = router
	}
	return all, nil
}
