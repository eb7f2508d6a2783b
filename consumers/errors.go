package consumers

import (
	"errors"
	"fmt"
)

// Poison marks an error that another try cannot mend: the message is parked at
// once, its key blocked. Any other error of a handler is tried again first.
func Poison(reason string, err error) error {
	if err == nil {
		return nil
	}
	return &poisonError{reason: reason, err: err}
}

// Unavailable marks an error of a dependency that is down: the partition waits
// and tries again, however long, and no attempt is counted. A payment provider
// that does not answer must not fill the dead letters. Log and status tell the
// error's text, so it should not hold payload.
func Unavailable(err error) error {
	if err == nil {
		return nil
	}
	return &unavailableError{err}
}

// LostError is returned by Run when a group's offset is no longer in the log:
// retention, or a broker that lost data, has taken records that the group never
// read. Going on would skip their effects silently.
type LostError struct {
	Group, Topic string
	Partition    int32

	consumer   string
	generation int
}

func (e *LostError) Error() string {
	return fmt.Sprintf("group %s: its offset in %s/%d is no longer in the log, records were lost before they were read", e.Group, e.Topic, e.Partition)
}

// Refusal says what to do.
func (e *LostError) Refusal() string {
	return "bring about what is missing (gapless verify names the events that have no effect), then move the group on: " +
		"kafka-consumer-groups.sh --group " + e.Group + " --topic " + fmt.Sprintf("%s:%d", e.Topic, e.Partition) + " --reset-offsets --to-earliest --execute; " +
		fmt.Sprintf("psql: DELETE FROM gapless.inbox_offset WHERE consumer = '%s' AND generation = %d AND topic = '%s' AND partition = %d",
			e.consumer, e.generation, e.Topic, e.Partition)
}

type poisonError struct {
	reason string
	err    error
}

func (e *poisonError) Error() string { return e.reason + ": " + e.err.Error() }
func (e *poisonError) Unwrap() error { return e.err }

type unavailableError struct{ err error }

func (e *unavailableError) Error() string { return e.err.Error() }
func (e *unavailableError) Unwrap() error { return e.err }

// IsPoison reports whether err was marked by [Poison].
func IsPoison(err error) bool {
	_, ok := errors.AsType[*poisonError](err)
	return ok
}

// IsUnavailable reports whether err was marked by [Unavailable].
func IsUnavailable(err error) bool {
	_, ok := errors.AsType[*unavailableError](err)
	return ok
}
