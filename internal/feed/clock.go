package feed

import (
	"math"
	"time"
)

// Drift bounds how far a clock's rate may be off on either side.
const (
	driftPercent = 1
	margin       = 50 * time.Millisecond
)

// Wait returns how long the authority must wait for a lease of d that it gave
// to be over by the verifier's clock (rule 2): the verifier's may be slow and
// its own fast.
func Wait(d time.Duration) time.Duration {
	return d*(100+driftPercent)/(100-driftPercent) + margin
}

// Instant is a reading of a verifier's clocks, taken together.
type Instant struct {
	Mono int64 // monotonic, nanoseconds
	Wall int64 // nanoseconds since 1970
}

// since returns the elapsed time between two readings: the larger of what the
// clocks say (rule 9). Go's monotonic clock stands still while the machine
// sleeps; the wall clock, which may be set by anybody, can only make a lease
// shorter.
func (t Instant) since(then Instant) int64 {
	return max(t.Mono-then.Mono, t.Wall-then.Wall)
}

var started = time.Now()

// Now reads the clocks of this process. It is never cached.
func Now() Instant {
	t := time.Now()
	return Instant{Mono: int64(t.Sub(started)), Wall: t.UnixNano()}
}

// Ticks is a monotonic clock with timers, the authority's. The zero duration is
// when it was made.
type Ticks interface {
	Now() time.Duration
	// After returns a channel that receives once d has passed, and what frees
	// its resources earlier.
	After(d time.Duration) (<-chan time.Time, func())
}

// Monotonic is the clock of this process. It stands still while the machine
// sleeps, which makes the authority wait longer, never shorter.
type Monotonic struct{ start time.Time }

// NewMonotonic returns a clock that starts now.
func NewMonotonic() Monotonic { return Monotonic{time.Now()} }

// Now implements [Ticks].
func (m Monotonic) Now() time.Duration { return time.Since(m.start) }

// After implements [Ticks].
func (m Monotonic) After(d time.Duration) (<-chan time.Time, func()) {
	t := time.NewTimer(d)
	return t.C, func() { t.Stop() }
}

const forever = time.Duration(math.MaxInt64)
