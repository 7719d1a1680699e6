package feed_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curfewhq/curfew"
)

// A single logout is delivered at once. Those that come while many verifiers are
// being served are delivered together, a few milliseconds later.
func TestManyVerifiersAreWokenTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		for i := range 100 {
			r.service(fmt.Sprint("s", i))
		}
		time.Sleep(5 * time.Second)
		enforced := func(seq curfew.Seq) time.Duration {
			t.Helper()
			began := time.Now()
			receipt, err := r.hub.Wait(t.Context(), seq)
			if err != nil || receipt.Verifiers != 100 || len(receipt.Unacknowledged) > 0 {
				t.Fatalf("receipt %+v, %v", receipt, err)
			}
			return time.Since(began)
		}
		if took := enforced(r.revoke(curfew.NewID())); took > 0 {
			t.Errorf("a single logout took %v", took)
		}
		if took := enforced(r.revoke(curfew.NewID())); took > 0 {
			t.Errorf("the next one took %v, though everybody was back", took)
		}
		// One of them is away. The others are not kept busy, and not kept waiting
		// either.
		away := r.service("away")
		away.link.set(true)
		r.revoke(curfew.NewID())
		synctest.Wait()
		r.revoke(curfew.NewID())
		time.Sleep(time.Millisecond)
		last := r.revoke(curfew.NewID())
		lag := func() (n int) {
			for _, v := range r.hub.Verifiers() {
				if v.Lag > 0 {
					n++
				}
			}
			return n
		}
		if synctest.Wait(); lag() != 101 {
			t.Errorf("%d verifiers were woken again at once", 101-lag())
		}
		time.Sleep(10 * time.Millisecond)
		if synctest.Wait(); lag() != 1 {
			t.Errorf("%d verifiers have not got revocation %d after 10 ms", lag()-1, last)
		}
	})
}
