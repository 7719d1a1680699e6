package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// The states of what doctor looks at. Only fail has an exit code.
const (
	stateOK   = "ok"
	stateNote = "note" // worth knowing
	stateWarn = "warn" // worth changing
	stateFail = "FAIL"
)

// diagnosis is what doctor prints.
type diagnosis struct {
	OK        bool           `json:"ok"`
	MaxMS     float64        `json:"max_ms"`
	Logout    canaryReceipt  `json:"logout"`
	Verifiers []verifierTime `json:"verifiers"`
	Probes    []probeTime    `json:"probes"`
	Checks    []checked      `json:"checks"`
}

// verifierTime is how long one process of a verifier took.
type verifierTime struct {
	Verifier string   `json:"verifier"`
	Instance string   `json:"instance"`
	State    string   `json:"state"`
	AfterMS  *float64 `json:"after_ms,omitempty"` // missing where it did not answer
	Result   string   `json:"result"`
}

// checked is one thing that was looked at.
type checked struct {
	Check  string `json:"check"`
	State  string `json:"state"`
	Result string `json:"result"`
}

// canaryReceipt is the answer to the end of a canary.
type canaryReceipt struct {
	Revocation struct {
		Seq int64 `json:"seq"`
	} `json:"revocation"`
	State        string  `json:"state"`
	Verifiers    int64   `json:"verifiers"`
	TookMS       float64 `json:"took_ms"`
	Acknowledged []struct {
		Verifier string  `json:"verifier"`
		Instance string  `json:"instance"`
		AfterMS  float64 `json:"after_ms"`
	} `json:"acknowledged,omitempty"`
	Unacknowledged []lapse `json:"unacknowledged,omitempty"`
}

func (c *cli) doctorCommand() *cobra.Command {
	var urls []string
	most := time.Second
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Measure how fast a logout takes effect, and check the settings",
		Long: `Makes a token that belongs to nobody, revokes it as a logout would, and prints how
long each verifier took to acknowledge that. With --probe it also sends the token
to a service from the moment of the logout on: the service must accept it before
the logout, and in no request that starts after the logout was answered. Then it
checks clocks, the durability of the store, the age of the signing key and the
time-outs.

Exits with 1 if a verifier or a probe fails or takes longer than --max, or if a
check fails; notes and warnings do not change the exit code.`,
		Example: `  curfew doctor
  curfew doctor --probe https://orders.example.com/me --max 50ms -o json`,
		Args: cobra.NoArgs,
		RunE: c.operate(func(cmd *cobra.Command, _ []string) error {
			if most <= 0 {
				return &usageError{errors.New("--max must be more than 0")}
			}
			probes, err := newProbes(urls)
			if err != nil {
				return err
			}
			d, err := c.examine(cmd.Context(), probes, most)
			if err != nil {
				return err
			}
			if err := c.print(d, d.write); err != nil {
				return err
			}
			return d.problems()
		}),
	}
	cmd.Flags().StringArrayVar(&urls, "probe", nil, "URL of a service that needs a login, to measure at; may be repeated")
	cmd.Flags().DurationVar(&most, "max", most, "longest time that a verifier or a probe may take")
	return c.remoteFlags(cmd)
}

// examine does everything, in the order in which nothing disturbs the
// measurement.
func (c *cli) examine(ctx context.Context, probes []*probe, most time.Duration) (*diagnosis, error) {
	var status authorityStatus
	asked := time.Now()
	if err := c.call(ctx, "GET", "/admin/status", nil, &status); err != nil {
		return nil, err
	}
	clock := checkClock(status.Time, asked, time.Now())
	var keys struct {
		Keys []signingKey `json:"keys"`
	}
	if err := c.call(ctx, "GET", "/admin/keys", nil, &keys); err != nil {
		return nil, err
	}
	d := &diagnosis{MaxMS: milliseconds(most), Verifiers: []verifierTime{}, Probes: []probeTime{}}
	if err := c.measure(ctx, d, probes, most); err != nil {
		return nil, err
	}
	var v verifiers
	if err := c.call(ctx, "GET", "/admin/verifiers", nil, &v); err != nil {
		return nil, err
	}
	d.Checks = append(d.Checks, checkLogout(d.Logout), checkVerifiers(v.Instances), clock, checkStore(status.Store))
	d.Checks = append(d.Checks, checkKey(keys.Keys, status), checkAccessLife(status), checkLifetime(status), checkIdle(status))
	d.OK = d.problems() == nil
	return d, nil
}

// measure makes a canary, shows it to the probes, ends it and takes the times.
func (c *cli) measure(ctx context.Context, d *diagnosis, probes []*probe, most time.Duration) error {
	var canary struct {
		AccessToken string `json:"access_token"`
		SessionID   string `json:"session_id"`
	}
	if err := c.call(ctx, "POST", "/admin/canary", nil, &canary); err != nil {
		return err
	}
	stop := hammer(ctx, probes, canary.AccessToken)
	began := time.Now()
	err := c.call(ctx, "DELETE", "/admin/canary/"+url.PathEscape(canary.SessionID), nil, &d.Logout)
	answered := time.Now()
	d.Probes = append(d.Probes, stop(began, answered, most)...)
	if err != nil {
		return err
	}
	for _, a := range d.Logout.Acknowledged {
		v := verifierTime{Verifier: a.Verifier, Instance: a.Instance, State: stateOK, AfterMS: &a.AfterMS, Result: fmt.Sprintf("acknowledged after %.1f ms", a.AfterMS)}
		if a.AfterMS > milliseconds(most) {
			v.State = stateFail
		}
		d.Verifiers = append(d.Verifiers, v)
	}
	for _, l := range d.Logout.Unacknowledged {
		d.Verifiers = append(d.Verifiers, verifierTime{Verifier: l.Verifier, Instance: l.Instance, State: stateFail, Result: "no answer, lease ran out"})
	}
	return nil
}

func (d *diagnosis) write(w io.Writer) {
	var rows [][]string
	for _, v := range d.Verifiers {
		rows = append(rows, []string{v.Verifier, v.Instance, v.State, v.Result})
	}
	if len(rows) > 0 {
		table(w, []string{"VERIFIER", "INSTANCE", "STATE", "RESULT"}, rows)
		fmt.Fprintln(w)
	}
	rows = nil
	for _, p := range d.Probes {
		rows = append(rows, []string{p.URL, p.State, p.Result})
	}
	if len(rows) > 0 {
		table(w, []string{"PROBE", "STATE", "RESULT"}, rows)
		fmt.Fprintln(w)
	}
	rows = nil
	for _, k := range d.Checks {
		rows = append(rows, []string{k.Check, k.State, k.Result})
	}
	table(w, []string{"CHECK", "STATE", "RESULT"}, rows)
}

// problems is an error with a line for all that failed, or nil.
func (d *diagnosis) problems() error {
	var all []error
	add := func(state, name, result string) {
		if state == stateFail {
			all = append(all, fmt.Errorf("%s: %s", strings.TrimSpace(name), result))
		}
	}
	for _, v := range d.Verifiers {
		add(v.State, v.Verifier+" "+v.Instance, v.Result)
	}
	for _, p := range d.Probes {
		add(p.State, p.URL, p.Result)
	}
	for _, k := range d.Checks {
		add(k.State, k.Check, k.Result)
	}
	return errors.Join(all...)
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
