//go:build curfew_fault

package fault

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// Enabled says whether this binary was built with the tag curfew_fault.
const Enabled = true

var bug = Bug(os.Getenv("CURFEW_FAULT_BUG"))

// On reports whether a bug is switched on: the one that CURFEW_FAULT_BUG names.
func On(b Bug) bool { return b == bug }

var (
	dieAt   Step
	passes  atomic.Int64
	dieWhen = int64(1)
)

// CURFEW_FAULT_DIE is STEP or STEP:N, the Nth time that the step is reached.
func init() {
	step, n, counted := strings.Cut(os.Getenv("CURFEW_FAULT_DIE"), ":")
	dieAt = Step(step)
	if counted {
		var err error
		if dieWhen, err = strconv.ParseInt(n, 10, 64); err != nil {
			panic("CURFEW_FAULT_DIE: " + err.Error())
		}
	}
}

// Point is where the process dies if it was told to, as by kill -9: no deferred
// call runs and nothing is flushed.
func Point(s Step) {
	if s != dieAt || passes.Add(1) != dieWhen {
		return
	}
	syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}
