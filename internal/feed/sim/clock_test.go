package sim

import (
	"sync"
	"time"

	"github.com/curfewhq/curfew/internal/feed"
)

// machine is the clocks of one machine. They outlive the processes on it. True
// time is what the bubble says, counted from the beginning of the run.
type machine struct {
	ppm int64 // how fast its crystal is, in parts per million

	mu     sync.Mutex
	wall   int64         // nanoseconds since 1970 at the beginning, and all jumps since
	still  time.Duration // true time during which the monotonic clock stood still
	asleep time.Duration // from when on it stands still; negative if it does not
}

func newMachine(ppm int64, start time.Time, off time.Duration) *machine {
	return &machine{ppm: ppm, wall: start.Add(off).UnixNano(), asleep: -1}
}

func (m *machine) scaled(d time.Duration) int64 {
	return int64(d) + int64(d)/1e6*m.ppm + int64(d)%1e6*m.ppm/1e6
}

// read returns what both clocks show at a moment of true time.
func (m *machine) read(at time.Duration) feed.Instant {
	m.mu.Lock()
	defer m.mu.Unlock()
	awake := at - m.still
	if m.asleep >= 0 && at > m.asleep {
		awake -= at - m.asleep
	}
	return feed.Instant{Mono: m.scaled(awake), Wall: m.wall + m.scaled(at)}
}

// jumpBy sets the wall clock.
func (m *machine) jumpBy(by time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wall += int64(by)
}

// suspend stops the monotonic clock, and resume starts it again.
func (m *machine) suspend(at time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asleep = at
}

func (m *machine) resume(at time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.still += at - m.asleep
	m.asleep = -1
}

// real returns how long a timer of this machine takes in true time.
func (m *machine) real(d time.Duration) time.Duration {
	return time.Duration(float64(d)*1e6/float64(1e6+m.ppm)) + 1
}

// ticks is the clock of leases of an authority on m.
type ticks struct {
	w *world
	m *machine
}

func (k ticks) Now() time.Duration { return time.Duration(k.m.read(k.w.now()).Mono) }

// After goes off at the first nanosecond at which d has passed by this clock,
// whenever that was computed.
func (k ticks) After(d time.Duration) (<-chan time.Time, func()) {
	now := k.w.now()
	due := int64(k.Now() + d)
	at := now + k.m.real(d)
	for k.m.read(at).Mono < due {
		at++
	}
	for at > now && k.m.read(at-1).Mono >= due {
		at--
	}
	t := time.NewTimer(at - now)
	return t.C, func() { t.Stop() }
}

// authorityClock is authority time as internal/authority keeps it: the wall
// clock, except that it never goes back, not even across a restart.
type authorityClock struct {
	w    *world
	m    *machine
	mu   sync.Mutex
	last int64 // monotonic
	at   time.Time
}

func newAuthorityClock(w *world, m *machine, highWater time.Time) *authorityClock {
	return &authorityClock{w: w, m: m, last: m.read(w.now()).Mono, at: highWater}
}

func (c *authorityClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	moment := c.w.now()
	n := c.m.read(moment)
	at := c.at.Add(time.Duration(n.Mono - c.last))
	if wall := time.Unix(0, n.Wall); wall.After(at) {
		at = wall
	}
	c.last, c.at = n.Mono, at
	at = at.Truncate(time.Microsecond).UTC()
	c.w.seen.authorityTime(moment, at)
	return at
}
