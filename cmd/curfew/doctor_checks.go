package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// authorityStatus is what the authority says of itself, as far as it is checked.
type authorityStatus struct {
	Time   string       `json:"time"`
	Store  *storeStatus `json:"store"`
	Policy struct {
		AccessLife  float64 `json:"access_life_s"`
		Lifetime    float64 `json:"lifetime_s"`
		IdleTimeout float64 `json:"idle_timeout_s"`
		RotateEvery float64 `json:"rotate_every_s"`
		Lease       float64 `json:"lease_s"`
	} `json:"policy"`
}

type storeStatus struct {
	Engine   string            `json:"engine"`
	Settings map[string]string `json:"settings"`
	Problem  string            `json:"problem"`
}

func checkLogout(r canaryReceipt) checked {
	state := stateOK
	if r.State != "enforced" {
		state = stateFail
	}
	result := fmt.Sprintf("%s after %.1f ms, at seq %d, with %s", r.State, r.TookMS, r.Revocation.Seq, plural(r.Verifiers, "verifier"))
	if n := int(r.Verifiers) - len(r.Acknowledged) - len(r.Unacknowledged); n > 0 {
		result += fmt.Sprintf(" (of %d the authority keeps no times)", n)
	}
	return checked{"logout", state, result}
}

func checkVerifiers(list []instance) checked {
	live := 0
	var lapsed []string
	for _, i := range list {
		if i.State == "lapsed" {
			lapsed = append(lapsed, i.Verifier+" "+i.Instance)
		} else {
			live++
		}
	}
	switch {
	case len(lapsed) > 0:
		return checked{"verifiers", stateWarn, fmt.Sprintf("lost their lease in the last ten minutes: %s", strings.Join(lapsed, ", "))}
	case live == 0:
		return checked{"verifiers", stateNote, "none is attached: services that check tokens by themselves do not learn of a logout"}
	}
	return checked{"verifiers", stateOK, fmt.Sprintf("%d live", live)}
}

// maxClockOff is how far the clocks may be apart. Nothing depends on it, but
// whoever reads the times in logs does.
const maxClockOff = 2 * time.Second

// checkClock compares authority time with the middle of the call that asked.
func checkClock(authority string, asked, answered time.Time) checked {
	at, err := time.Parse(time.RFC3339Nano, authority)
	if err != nil {
		return checked{"clock", stateWarn, "the authority does not say what time it is"}
	}
	off := at.Sub(asked.Add(answered.Sub(asked) / 2))
	if off.Abs() > maxClockOff+answered.Sub(asked)/2 {
		return checked{"clock", stateWarn, fmt.Sprintf("authority time and the clock of this machine are %v apart; no promise depends on that, but one of them is wrong", off.Abs().Round(time.Second))}
	}
	return checked{"clock", stateOK, fmt.Sprintf("within %v of authority time", maxClockOff)}
}

func checkStore(s *storeStatus) checked {
	switch {
	case s == nil:
		return checked{"store", stateNote, "it does not say how durable its commits are"}
	case s.Problem != "":
		return checked{"store", stateFail, s.Engine + ": " + s.Problem}
	}
	var settings []string
	for _, name := range slices.Sorted(maps.Keys(s.Settings)) {
		settings = append(settings, name+"="+s.Settings[name])
	}
	return checked{"store", stateOK, s.Engine + ": " + strings.Join(settings, ", ")}
}

// rotationSlack is how late a rotation may be: the authority looks once a
// minute, and not while it is stopped.
const rotationSlack = time.Hour

func checkKey(keys []signingKey, s authorityStatus) checked {
	for _, k := range keys {
		if k.Status != "active" {
			continue
		}
		since, err := time.Parse(time.RFC3339Nano, k.ChangedAt)
		now, terr := time.Parse(time.RFC3339Nano, s.Time)
		if err != nil || terr != nil {
			break
		}
		age, every := now.Sub(since), seconds(s.Policy.RotateEvery)
		result := fmt.Sprintf("%s has been signing for %s", k.ID, span(age))
		switch {
		case every == 0:
			return checked{"signing key", stateNote, result + "; keys.rotate_every is 0, so it is replaced by hand only"}
		case age > every+rotationSlack:
			return checked{"signing key", stateWarn, fmt.Sprintf("%s, longer than keys.rotate_every (%s)", result, span(every))}
		}
		return checked{"signing key", stateOK, fmt.Sprintf("%s, and is replaced after %s", result, span(every))}
	}
	return checked{"signing key", stateWarn, "the authority names no active key"}
}

// Bounds of the presets. NIST SP 800-63B-4 has them for each authenticator
// assurance level (§2.1.3, §2.2.3, §2.3.3); for access tokens there is no number
// but what is usual.
const (
	maxAccessLife = 15 * time.Minute
	aal1Lifetime  = 30 * 24 * time.Hour
	aal2Lifetime  = 24 * time.Hour
	aal3Lifetime  = 12 * time.Hour
	aal2Idle      = time.Hour
	aal3Idle      = 15 * time.Minute
)

func checkAccessLife(s authorityStatus) checked {
	life := seconds(s.Policy.AccessLife)
	if life > maxAccessLife {
		return checked{"tokens.access_life", stateWarn, fmt.Sprintf("%s: a service without a guard accepts a token that long after a logout; at most %s are usual", span(life), span(maxAccessLife))}
	}
	return checked{"tokens.access_life", stateOK, fmt.Sprintf("%s (at most %s are usual)", span(life), span(maxAccessLife))}
}

func checkLifetime(s authorityStatus) checked {
	life := seconds(s.Policy.Lifetime)
	within := func(level string) checked {
		return checked{"sessions.lifetime", stateOK, fmt.Sprintf("%s, within NIST SP 800-63B-4 %s", span(life), level)}
	}
	switch {
	case life <= aal3Lifetime:
		return within("AAL3")
	case life <= aal2Lifetime:
		return within("AAL2")
	case life <= aal1Lifetime:
		return within("AAL1 (AAL2: " + span(aal2Lifetime) + ")")
	}
	return checked{"sessions.lifetime", stateWarn, fmt.Sprintf("%s, longer than NIST SP 800-63B-4 recommends even at AAL1 (%s)", span(life), span(aal1Lifetime))}
}

func checkIdle(s authorityStatus) checked {
	idle := seconds(s.Policy.IdleTimeout)
	within := func(level string) checked {
		return checked{"sessions.idle_timeout", stateOK, fmt.Sprintf("%s, within NIST SP 800-63B-4 %s", span(idle), level)}
	}
	switch {
	case idle == 0:
		return checked{"sessions.idle_timeout", stateNote, fmt.Sprintf("none; OWASP ASVS 5.0 7.3.1 asks for one, NIST SP 800-63B-4 AAL2 for %s at most", span(aal2Idle))}
	case idle <= aal3Idle:
		return within("AAL3")
	case idle <= aal2Idle:
		return within("AAL2")
	}
	return checked{"sessions.idle_timeout", stateNote, fmt.Sprintf("%s, longer than NIST SP 800-63B-4 AAL2 recommends (%s)", span(idle), span(aal2Idle))}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// span writes a duration as people say it.
func span(d time.Duration) string {
	for _, unit := range []struct {
		d    time.Duration
		name string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		if d >= 2*unit.d || d == unit.d {
			if d%unit.d == 0 {
				return plural(int64(d/unit.d), unit.name)
			}
			return fmt.Sprintf("%.1f %ss", float64(d)/float64(unit.d), unit.name)
		}
	}
	return d.Round(time.Second).String()
}
