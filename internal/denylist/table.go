package denylist

import (
	"math/bits"
	"sync/atomic"
)

// table is an open-addressing hash table of fingerprints with linear probing
// from bucket to bucket. A slot is 12 bytes, or 20 with an epoch, and none holds
// a pointer.
//
// One writer inserts while any number of readers look. Slots are never freed or
// moved: whoever drops entries or needs more room builds another table and
// publishes that. So a reader needs no lock, and sees at least what was in the
// table when it loaded the pointer.
type table struct {
	fps     []uint64     // 0 is free; readers and the writer, atomically
	epochs  []int64      // nil if the table has none; atomically, written before the fingerprint
	expires []uint32     // seconds since 1970; the writer alone
	used    atomic.Int64 // taken slots
}

// bucket is how many slots are looked at together: a cache line of
// fingerprints. A bucket fills from its first slot on and spills into the next
// one, so its last slot tells whether the search ends here. Going slot by slot
// instead, the processor mispredicts the end of nearly every search.
const bucket = 8

// A table is between 62 % and 75 % full once it has grown, hence 16 to 19.2
// bytes an entry without epochs. Doubling would leave it at 37 %, at 32 bytes.
func (t *table) full() bool { return int(t.used.Load())*4 >= len(t.fps)*3 }
func (t *table) grown() int { return len(t.fps) + len(t.fps)/5 }
func slotsFor(n int) int    { return n + n/2 }

// newTable returns a table of at least the given number of slots.
func newTable(slots int, epochs bool) *table {
	slots = max(2*bucket, (slots+bucket-1)/bucket*bucket)
	t := &table{fps: make([]uint64, slots), expires: make([]uint32, slots)}
	if epochs {
		t.epochs = make([]int64, slots)
	}
	return t
}

// start returns the first slot of the bucket of fp. It takes the high bits, in
// proportion, so the number of buckets need not be a power of two, and a
// rebuild in order of slots writes in order of slots too.
func (t *table) start(fp uint64) int {
	hi, _ := bits.Mul64(fp, uint64(len(t.fps)/bucket))
	return int(hi) * bucket
}

// find returns the slot of fp, or -1.
func (t *table) find(fp uint64) int {
	for i := t.start(fp); ; {
		b := (*[bucket]uint64)(t.fps[i:])
		hit := -1
		for j := range b {
			// No branch for each slot: where a hit is cannot be predicted.
			if atomic.LoadUint64(&b[j]) == fp {
				hit = i + j
			}
		}
		if hit >= 0 {
			return hit
		}
		if atomic.LoadUint64(&b[bucket-1]) == 0 {
			return -1 // there is always a bucket with a free slot
		}
		if i += bucket; i == len(t.fps) {
			i = 0
		}
	}
}

// free returns the slot where fp belongs, which is not in the table.
func (t *table) free(fp uint64) int {
	i := t.start(fp)
	for t.fps[i] != 0 {
		if i++; i == len(t.fps) {
			i = 0
		}
	}
	return i
}

// put inserts fp, or raises its expiry and epoch if it is there, and reports
// whether it is new. Only the writer calls it, on a table that is not full.
func (t *table) put(fp uint64, expiry uint32, epoch int64) bool {
	if i := t.find(fp); i >= 0 {
		t.expires[i] = max(t.expires[i], expiry)
		if t.epochs != nil && epoch > t.epochs[i] {
			atomic.StoreInt64(&t.epochs[i], epoch)
		}
		return false
	}
	i := t.free(fp)
	t.expires[i] = expiry
	if t.epochs != nil {
		atomic.StoreInt64(&t.epochs[i], epoch)
	}
	// The fingerprint makes the slot visible, so it comes after the epoch. used
	// comes last: a Check that starts when Apply has returned sees both.
	atomic.StoreUint64(&t.fps[i], fp)
	t.used.Add(1)
	return true
}

// expired returns how many entries expire at or before cut.
func (t *table) expired(cut uint32) int {
	n := 0
	for i, fp := range t.fps {
		if fp != 0 && t.expires[i] <= cut {
			n++
		}
	}
	return n
}

// rebuild returns a copy of t with the given number of slots or
// a few more, without what
// expires at or before cut. A cut of 0 keeps everything. Nobody else sees the
// copy yet, so it is written plainly: a locked instruction for each slot would
// take several times as long, and an Apply waits for this.
func (t *table) rebuild(slots int, cut uint32) *table {
	out := newTable(slots, t.epochs != nil)
	n := 0
	for from, fp := range t.fps {
		if fp == 0 || cut > 0 && t.expires[from] <= cut {
			continue
		}
		to := out.free(fp)
		out.fps[to], out.expires[to] = fp, t.expires[from]
		if t.epochs != nil {
			out.epochs[to] = t.epochs[from]
		}
		n++
	}
	out.used.Store(int64(n))
	return out
}
