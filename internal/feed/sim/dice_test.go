package sim

import (
	"math"
	"time"
)

// dice are the random choices of one event. Who rolls them is part of what they
// show, so it does not matter who rolls first.
type dice struct{ state uint64 }

// roll returns the dice of what happens to whom, and when.
func roll(seed uint64, keys ...uint64) *dice {
	d := &dice{mix(seed + 0x9e3779b97f4a7c15)}
	for _, k := range keys {
		d.state = mix(d.state ^ mix(k+0x9e3779b97f4a7c15))
	}
	return d
}

// mix is the finalizer of splitmix64.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (d *dice) next() uint64 {
	d.state += 0x9e3779b97f4a7c15
	return mix(d.state)
}

// below returns a number in [0, n).
func (d *dice) below(n int) int { return int(d.next() % uint64(n)) }

// float returns a number in [0, 1).
func (d *dice) float() float64 { return float64(d.next()>>11) / (1 << 53) }

func (d *dice) chance(p float64) bool { return d.float() < p }

// between returns a duration in [a, b), to the nanosecond.
func (d *dice) between(a, b time.Duration) time.Duration {
	return a + time.Duration(d.float()*float64(b-a))
}

// about returns a duration with the given mean, mostly less and sometimes much
// more.
func (d *dice) about(mean time.Duration) time.Duration {
	return time.Duration(-math.Log(1-d.float())*float64(mean)) + 1
}
