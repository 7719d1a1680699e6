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
		r.revoke(curfew.NewID())
		time.Sleep(time.Millisecond)
		last := r.revoke(curfew.NewID())
		if took := enforced(last - 1); took <= 0 || took > 4*time.Millisecond {
			t.Errorf("the second took %v", took)
		}
		if took := enforced(last); took > 0 {
			t.Errorf("the third came %v after the second", took)
		}
	})
}
