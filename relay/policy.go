package relay

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gapless/gapless/relay/format"
)

// Policy is what becomes of a row that the sink will never take as it is.
type Policy string

// The policies.
const (
	// BlockKey parks the row, and after it every row of its key, until an operator
	// redrives or discards it. The key's order is kept. The default.
	BlockKey Policy = "block-key"
	// Skip parks the row alone: later rows of its key go out before it.
	Skip Policy = "skip"
	// Halt parks nothing and ends Run with a *Refusal.
	Halt Policy = "halt"
)

func validatePolicies(p map[string]Policy) error {
	for reason, policy := range p {
		if !slices.Contains(format.Reasons, reason) {
			return fmt.Errorf("OnFault: %q is none of the reasons %s", reason, strings.Join(format.Reasons, ", "))
		}
		if policy != BlockKey && policy != Skip && policy != Halt {
			return fmt.Errorf("OnFault: %s: %q is none of %s, %s and %s", reason, policy, BlockKey, Skip, Halt)
		}
	}
	return nil
}

// halted is the refusal that Halt asks for.
func halted(table string, r *format.Record, fault *format.Fault) error {
	return refuse(fmt.Sprintf("Mend what the row cannot be sent for and start again, or let such rows be put aside: --on-fault %s=block-key (or skip). 'gapless relay redrive' sends them later.", fault.Reason),
		"row %s of %s (event %s, topic %q) cannot be sent, and %s halts by policy: %s",
		r.Position, table, r.EventID, r.Topic, fault.Reason, fault.Detail)
}
