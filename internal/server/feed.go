package server

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/curfewhq/curfew"
	"github.com/curfewhq/curfew/internal/authority"
	"github.com/curfewhq/curfew/internal/feed"
	"github.com/curfewhq/curfew/internal/feed/feedhttp"
	"github.com/prometheus/client_golang/prometheus"
)

// openVerifier is what verifiers are called that need no key.
const openVerifier = "anonymous"

// A verifier needs one error for every key that does not count: what it does
// about them is the same.
var (
	errNoVerifierKey = &httpError{
		Status: http.StatusUnauthorized, Code: "invalid_key", Msg: "A verifier's key is required; make one with 'curfew verifiers add NAME'", Bearer: "none",
	}
	errVerifierKey = &httpError{
		Status: http.StatusUnauthorized, Code: "invalid_key", Msg: "This is not the key of a verifier, or it was removed", Bearer: "invalid_token",
	}
)

// verifier returns the name of the verifier whose key came with a request.
func (s *Server) verifier(r *http.Request) (string, error) {
	secret, err := bearer(r)
	switch {
	case errors.Is(err, errNoCredential):
		return "", errNoVerifierKey
	case err != nil:
		return "", err
	case secret == "" && s.openFeed:
		return openVerifier, nil
	case secret == "":
		return "", errNoVerifierKey
	}
	k, ok := s.authority.CheckAPIKey(secret)
	if !ok || k.Kind != authority.KindVerifier {
		return "", errVerifierKey
	}
	return k.Name, nil
}

// feedPoll serves POST /feed/poll.
func (s *Server) feedPoll(w http.ResponseWriter, r *http.Request) error {
	name, err := s.verifier(r)
	if err != nil {
		return err
	}
	p, err := feedhttp.ReadPoll(w, r)
	if err != nil {
		return err
	}
	// A server that stops does not wait for what only waits for news.
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.running, cancel)()
	// The key may be removed while the poll waits.
	g, err := s.authority.Feed().PollWhile(ctx, name, p, func() error { _, err := s.verifier(r); return err })
	if err != nil {
		return err
	}
	feedhttp.WriteGrant(w, g)
	return nil
}

// snapshotTimeout is how long a verifier may take to read a snapshot.
const snapshotTimeout = 5 * time.Minute

// feedSnapshot serves GET /feed/snapshot.
func (s *Server) feedSnapshot(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.verifier(r); err != nil {
		return err
	}
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(snapshotTimeout)); err != nil {
		return err
	}
	return feedhttp.WriteSnapshot(w, r, s.authority.Feed().Snapshot())
}

// progressBody is how far a revocation has come.
type progressBody struct {
	Revocation curfew.Revocation `json:"revocation"`
	State      string            `json:"state"`
	Verifiers  int               `json:"verifiers"`
	RecordedAt string            `json:"known_at,omitempty"`
	EnforcedAt string            `json:"enforced_at,omitempty"`
	// Unacknowledged are waited for, each until its lease is over, or had to
	// be waited out.
	Unacknowledged []lapseBody `json:"unacknowledged,omitempty"`
	Acknowledged   []ackBody   `json:"acknowledged,omitempty"`
}

type ackBody struct {
	Verifier string  `json:"verifier"`
	Instance string  `json:"instance"`
	AfterMS  float64 `json:"after_ms"`
}

func toProgress(rev curfew.Revocation, r feed.Receipt) progressBody {
	b := progressBody{
		Revocation: rev, State: r.State, Verifiers: r.Verifiers,
		RecordedAt: timestamp(r.RecordedAt), EnforcedAt: timestamp(r.EnforcedAt), Unacknowledged: toLapses(r.Unacknowledged),
	}
	for _, a := range r.Acks {
		b.Acknowledged = append(b.Acknowledged, ackBody{a.Verifier, a.Instance, milliseconds(a.Took)})
	}
	return b
}

// instanceBody is one process of a verifier.
type instanceBody struct {
	Verifier string `json:"verifier"`
	Instance string `json:"instance"`
	State    string `json:"state"` // live or lapsed
	Applied  int64  `json:"applied"`
	Lag      int64  `json:"lag"` // entries that it has not acknowledged
	LeaseMS  int64  `json:"lease_ms"`
	Since    string `json:"since"`
	PolledAt string `json:"polled_at"`
}

// adminVerifiers serves GET /admin/verifiers: the keys, and the processes that
// use them.
func (s *Server) adminVerifiers(w http.ResponseWriter, r *http.Request, _ authority.Actor) error {
	rows, err := s.authority.APIKeys(r.Context(), authority.KindVerifier)
	if err != nil {
		return err
	}
	instances := []instanceBody{}
	for _, v := range s.authority.Feed().Verifiers() {
		instances = append(instances, instanceBody{
			Verifier: v.Name, Instance: v.Instance, State: stateOf(v), Applied: int64(v.Applied), Lag: int64(v.Lag),
			LeaseMS: v.Lease.Milliseconds(), Since: timestamp(v.Since), PolledAt: timestamp(v.PolledAt),
		})
	}
	writeJSON(w, http.StatusOK, map[string]any{"verifiers": rows, "instances": instances})
	return nil
}

func stateOf(v feed.Verifier) string {
	if v.Live {
		return "live"
	}
	return "lapsed"
}

// verifierCollector reports the verifiers when it is asked: how many there are,
// and for each name how far the slowest of its live processes has come.
type verifierCollector struct{ hub *feed.Hub }

var (
	verifiersDesc = prometheus.NewDesc("curfew_verifiers", "Verifier processes by state of their lease.", []string{"state"}, nil)
	watermarkDesc = prometheus.NewDesc("curfew_verifier_watermark", "Position of the log that every live process of a verifier has acknowledged.", []string{"verifier"}, nil)
)

// Describe implements [prometheus.Collector].
func (verifierCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- verifiersDesc
	ch <- watermarkDesc
}

// Collect implements [prometheus.Collector].
func (c verifierCollector) Collect(ch chan<- prometheus.Metric) {
	count := map[string]int{"live": 0, "lapsed": 0}
	watermark := map[string]curfew.Seq{}
	for _, v := range c.hub.Verifiers() {
		count[stateOf(v)]++
		if at, ok := watermark[v.Name]; v.Live && (!ok || v.Applied < at) {
			watermark[v.Name] = v.Applied
		}
	}
	for state, n := range count {
		ch <- prometheus.MustNewConstMetric(verifiersDesc, prometheus.GaugeValue, float64(n), state)
	}
	for name, at := range watermark {
		ch <- prometheus.MustNewConstMetric(watermarkDesc, prometheus.GaugeValue, float64(at), name)
	}
}
