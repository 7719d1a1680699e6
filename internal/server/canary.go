package server

import (
	"net/http"
	"time"

	"github.com/curfewhq/curfew/internal/authority"
	"github.com/curfewhq/curfew/internal/store"
)

// adminMakeCanary serves POST /admin/canary.
func (s *Server) adminMakeCanary(w http.ResponseWriter, r *http.Request, by authority.Actor) error {
	c, err := s.authority.MakeCanary(r.Context(), by, s.origin(r))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, map[string]string{
		"access_token": c.AccessToken, "session_id": c.Session, "expires_at": timestamp(c.ExpiresAt),
	})
	return nil
}

// canaryBody is what became of a canary. It is measured, so that its times are
// finer than those of a receipt.
type canaryBody struct {
	progressBody
	TookMS float64 `json:"took_ms"`
}

// adminEndCanary serves DELETE /admin/canary/{id}.
func (s *Server) adminEndCanary(w http.ResponseWriter, r *http.Request, by authority.Actor) error {
	receipt, err := s.authority.EndCanary(r.Context(), r.PathValue("id"), by, s.origin(r))
	if err != nil {
		return err
	}
	rev, err := s.authority.Revocation(r.Context(), receipt.Seq)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, canaryBody{toProgress(rev, s.authority.Feed().Status(rev.Seq)), milliseconds(receipt.Took)})
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// statusBody says how it stands.
type statusBody struct {
	Version  string `json:"version"`
	Issuer   string `json:"issuer"`
	Time     string `json:"time"`
	Head     any    `json:"head"`
	Enforced int64  `json:"enforced"`
	Audit    any    `json:"audit_head"`
	Live     int64  `json:"live_sessions"`
	Denied   int    `json:"remembered_revocations"`
	// Store is missing where the engine cannot say.
	Store  *store.Durability `json:"store,omitempty"`
	Policy policyBody        `json:"policy"`
}

// policyBody are the times that a check-up looks at, in seconds.
type policyBody struct {
	AccessLife  float64 `json:"access_life_s"`
	Lifetime    float64 `json:"lifetime_s"`
	IdleTimeout float64 `json:"idle_timeout_s"` // 0 = none
	RotateEvery float64 `json:"rotate_every_s"` // 0 = by hand only
	Lease       float64 `json:"lease_s"`
}

// byHand is beyond the longest time that can be configured: internal/app asks
// for more where keys are never to be rotated by themselves.
const byHand = 50 * 365 * 24 * time.Hour

func toPolicy(p authority.Config) policyBody {
	if p.RotateEvery > byHand {
		p.RotateEvery = 0
	}
	return policyBody{
		AccessLife: p.AccessLife.Seconds(), Lifetime: p.Lifetime.Seconds(), IdleTimeout: p.IdleTimeout.Seconds(),
		RotateEvery: p.RotateEvery.Seconds(), Lease: p.Lease.Seconds(),
	}
}

// adminStatus serves GET /admin/status.
func (s *Server) adminStatus(w http.ResponseWriter, r *http.Request, _ authority.Actor) error {
	st, err := s.authority.State(r.Context())
	if err != nil {
		return err
	}
	live, err := s.authority.CountSessions(r.Context(), store.SessionFilter{Live: true})
	if err != nil {
		return err
	}
	body := statusBody{
		Version: s.version, Issuer: s.authority.Issuer(), Time: timestamp(s.authority.Now()),
		Head: st.Head, Enforced: int64(s.authority.Position().Seq), Audit: st.AuditHead,
		Live: live, Denied: s.authority.Denied(), Policy: toPolicy(s.authority.Policy()),
	}
	durability, ok, err := s.authority.Durability(r.Context())
	if err != nil {
		return err
	}
	if ok {
		body.Store = &durability
	}
	writeJSON(w, http.StatusOK, body)
	return nil
}
