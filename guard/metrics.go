package guard

import (
	"errors"

	"github.com/curfewhq/curfew"
)

// Metrics is told what a guard does. Its methods are called on the path of
// requests and of revocations: they must be quick and safe for concurrent use.
type Metrics interface {
	// Checked is told the verdict of each request that a middleware judged.
	Checked(v Verdict)
	// Applied is told the new watermark and how many revocations led there.
	Applied(seq curfew.Seq, entries int)
	// Stale is told when the lease is lost, and when there is one again.
	Stale(stale bool)
	// Cancelled is told how many requests were cancelled while they ran.
	Cancelled(n int)
}

// Verdict is the outcome of a check, fit for a label.
type Verdict string

// The verdicts.
const (
	Accepted     Verdict = "accepted"
	Anonymous    Verdict = "anonymous" // let through without a credential
	NoCredential Verdict = "no_credential"
	Invalid      Verdict = "invalid"
	Expired      Verdict = "expired"
	Revoked      Verdict = "revoked"
	CrossOrigin  Verdict = "cross_origin"
	Stale        Verdict = "stale"
)

func verdictOf(err error) Verdict {
	switch {
	case err == nil:
		return Accepted
	case errors.Is(err, curfew.ErrStale):
		return Stale
	case errors.Is(err, curfew.ErrRevoked):
		return Revoked
	case errors.Is(err, curfew.ErrExpired):
		return Expired
	case errors.Is(err, ErrNoCredential):
		return NoCredential
	case errors.Is(err, ErrCrossOrigin):
		return CrossOrigin
	}
	return Invalid
}

type nobody struct{}

func (nobody) Checked(Verdict)         {}
func (nobody) Applied(curfew.Seq, int) {}
func (nobody) Stale(bool)              {}
func (nobody) Cancelled(int)           {}
