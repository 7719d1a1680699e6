package fault

// EnvPrefix is what the names of the variables begin with that switch bugs and
// points on: CURFEW_FAULT_BUG and CURFEW_FAULT_DIE.
const EnvPrefix = "CURFEW_FAULT_"

// Bug names a mistake that the tests must find.
type Bug string

// The bugs. Each breaks the promise, or logs out somebody who is not to be.
const (
	LeaseFromReceipt     Bug = "lease-from-receipt"     // rule 1
	WaitWithoutDrift     Bug = "wait-without-drift"     // rule 2
	AckBeforeApply       Bug = "ack-before-apply"       // rule 3
	LookupBeforeDeadline Bug = "lookup-before-deadline" // rule 4
	NoWaitAfterRestart   Bug = "no-wait-after-restart"  // rule 6
	GrantWithoutMissed   Bug = "grant-without-missed"   // rule 7
	AnswerBeforeSync     Bug = "answer-before-sync"     // rule 8
	PurgeByWallClock     Bug = "purge-by-wall-clock"    // rule 11
	DenyByTokenText      Bug = "deny-by-token-text"
	RowCountUnchecked    Bug = "row-count-unchecked"
)

// Bugs lists all of them.
func Bugs() []Bug {
	return []Bug{
		LeaseFromReceipt, WaitWithoutDrift, AckBeforeApply, LookupBeforeDeadline, NoWaitAfterRestart,
		GrantWithoutMissed, AnswerBeforeSync, PurgeByWallClock, DenyByTokenText, RowCountUnchecked,
	}
}

// Step names a moment of a logout at which a process may die.
type Step string

// The steps of a logout, in order.
const (
	BeforeCommit Step = "before-commit" // nothing is durable
	AfterCommit  Step = "after-commit"  // durable, and nobody knows
	HalfAcked    Step = "half-acked"    // some verifiers have acknowledged
	BeforeAnswer Step = "before-answer" // enforced, and the caller does not know
)

// Steps lists all of them.
func Steps() []Step { return []Step{BeforeCommit, AfterCommit, HalfAcked, BeforeAnswer} }
