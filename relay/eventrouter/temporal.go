package eventrouter

import (
	"math"
	"strconv"
	"time"

	"github.com/gapless/gapless/relay/connect"
)

// Days and microseconds from 1970 to 2000, where Postgres begins to count.
const (
	epochDays   = 10957
	epochMicros = epochDays * 86400 * 1_000_000
)

// What Debezium sends for infinite dates and timestamps.
const (
	lastDay, firstDay       = -2147472692, -2147472691 // an int overflows in it
	lastMicros, firstMicros = 9223372036825200000, -9223372036832400000
)

func dateValue(days int64) connect.Value {
	switch days {
	case math.MaxInt32:
		return connect.Integer(lastDay)
	case math.MinInt32:
		return connect.Integer(firstDay)
	}
	return connect.Integer(days + epochDays)
}

func (c *column) timestamp(micros int64) connect.Value {
	switch micros {
	case math.MaxInt64:
		micros = lastMicros
	case math.MinInt64:
		micros = firstMicros
	default:
		micros += epochMicros
	}
	if c.millis() {
		return connect.Integer(floorDiv(micros, 1000))
	}
	return connect.Integer(micros)
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// appendTimestamptz is ISO 8601 in UTC with as many digits of a second as the type
// has.
func appendTimestamptz(b []byte, micros int64, modifier int32) []byte {
	switch micros {
	case math.MaxInt64:
		return append(b, "infinity"...)
	case math.MinInt64:
		return append(b, "-infinity"...)
	}
	t := time.UnixMicro(micros + epochMicros).UTC()
	year, month, day := t.Date()
	if year < 0 {
		b, year = append(b, '-'), -year
	} else if year > 9999 {
		b = append(b, '+')
	}
	b = appendPadded(b, int64(year), 4)
	b = appendPadded(append(b, '-'), int64(month), 2)
	b = appendPadded(append(b, '-'), int64(day), 2)
	b = append(b, 'T')
	b = t.AppendFormat(b, "15:04:05")
	if digits := modifier; digits != 0 {
		if digits < 0 || digits > 6 {
			digits = 6
		}
		fraction := appendPadded(nil, int64(t.Nanosecond()/1000), 6)
		b = append(append(b, '.'), fraction[:digits]...)
	}
	return append(b, 'Z')
}

// appendTimetz is the time in UTC, with the digits of a second that count.
func appendTimetz(b []byte, micros, west int64) []byte {
	const day = 86400 * 1_000_000
	micros = ((micros+west*1_000_000)%day + day) % day
	seconds, fraction := micros/1_000_000, micros%1_000_000
	b = appendPadded(b, seconds/3600, 2)
	b = appendPadded(append(b, ':'), seconds/60%60, 2)
	b = appendPadded(append(b, ':'), seconds%60, 2)
	if fraction != 0 {
		b = appendPadded(append(b, '.'), fraction, 6)
		for b[len(b)-1] == '0' {
			b = b[:len(b)-1]
		}
	}
	return append(b, 'Z')
}

func appendPadded(b []byte, n int64, width int) []byte {
	var digits [20]byte
	s := strconv.AppendInt(digits[:0], n, 10)
	for range width - len(s) {
		b = append(b, '0')
	}
	return append(b, s...)
}

// intervalMicros: a month has the 365.25/12 days of Debezium's MicroDuration.
func intervalMicros(micros, days, months int64) int64 {
	return micros + days*86400_000_000 + months*2_629_800_000_000
}
